//! Who has used how much, for the staff.

use super::authenticator::{ActiveTenant, Authenticator};
use crate::{failure::Outcome, telemetry::rfc3339};
use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use std::{sync::Arc, time::SystemTime};

/// Each tenant with what it has used, and each key with when it was used last.
pub(super) async fn usage(State(authenticator): State<Arc<Authenticator>>) -> Response {
    let callers = authenticator.callers();
    let mut members: Vec<&Arc<ActiveTenant>> = callers.members.iter().collect();
    if !authenticator.is_locked {
        members.push(authenticator.anonymous());
    }
    let decodes_today = authenticator.decodes_today(&members).await;
    let tenants = members.iter().zip(decodes_today);
    let tenants = tenants.map(|(member, today)| of_tenant(member, today));
    let moment = |at: Option<SystemTime>| at.map(rfc3339);
    let keys = callers.key_table.used().into_iter().map(|key| {
        let tenant = key.tenant.and_then(|place| callers.members.get(place));
        json!({
            "id": key.id,
            "role": key.role.as_str(),
            "tenant": tenant.map(|member| member.tenant.name.as_str()),
            "expires": moment(key.expires),
            "last_used": moment(key.last_used),
        })
    });
    let (tenants, keys): (Vec<Value>, Vec<Value>) = (tenants.collect(), keys.collect());
    Json(json!({ "tenants": tenants, "keys": keys })).into_response()
}

fn of_tenant(member: &ActiveTenant, today: Option<u64>) -> Value {
    let terms = member.limits.whole();
    let decodes = Outcome::ALL.map(|outcome| (outcome.as_str(), member.counted.decodes(outcome)));
    json!({
        "tenant": member.tenant.name,
        "disabled": member.tenant.check_served().is_err(),
        "requests_per_minute": terms.rate.requests_per_minute(),
        "burst": terms.rate.burst(),
        "decodes_per_day": terms.decodes_per_day,
        // Where they are not limited, nobody counts them by the day.
        "decodes_today": terms.decodes_per_day.and(today),
        // Of this instance, since it started.
        "decodes": decodes.into_iter().collect::<std::collections::BTreeMap<_, _>>(),
    })
}
