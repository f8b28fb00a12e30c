//! One tenant that asks for everything, and another one that has something all the same.

use crate::support::{
    app::{Answer, TestApp},
    callers::{Key, Roster, TenantsFile},
    upstream::{
        Gate, Reply,
        Step::{Send, Wait},
        Upstream,
    },
};
use serde_json::json;
use tokio::task::JoinSet;

/// A tenant that asks for more than there is.
struct Crowd {
    app: TestApp,
    greedy: Key,
    modest: Key,
    asked: JoinSet<u16>,
}

impl Crowd {
    async fn of(count: usize, upstream: &Upstream, egress: &str, overload: &str) -> Self {
        let (greedy, modest) = (Key::new(), Key::new());
        let roster = Roster::default().tenant("greedy", "", &[(&greedy, "decoder")]).tenant(
            "modest",
            "",
            &[(&modest, "decoder")],
        );
        let file = TenantsFile::new(&roster);
        let config = format!("{}[overload]\n{overload}\n", file.config());
        let app = TestApp::with_source(upstream, egress, &config).await;
        let mut asked = JoinSet::new();
        for _ in 0..count {
            let asking = app.asking(&json!({ "source": upstream.url("/slow") }));
            let asking = asking.bearer_auth(greedy.text());
            asked.spawn(async move { Answer::of(asking).await.status });
        }
        Self { app, greedy, modest, asked }
    }
}

async fn slow() -> (Upstream, Gate) {
    let (upstream, gate) = (Upstream::tls().await, Gate::default());
    upstream.on("/slow", Reply::stream([Wait(gate.clone()), Send("{*a*}".into())]).chunked());
    upstream.on("/quick", Reply::ok("{*q*}"));
    (upstream, gate)
}

#[tokio::test]
async fn who_asks_for_all_places_leaves_some() {
    let (upstream, gate) = slow().await;
    let mut crowd = Crowd::of(30, &upstream, "", "fetch = 18\nmax_wait = \"1h\"").await;
    let app = &crowd.app;
    let in_use = "decoder_pool_in_use{pool=\"fetch\"}";
    let depth = "decoder_queue_depth{pool=\"fetch\"}";
    // Eight ninths of them.
    app.metrics_when(|metrics| metrics[in_use] == 16.0 && metrics[depth] == 14.0).await;

    let quick = json!({ "source": upstream.url("/quick") });
    let served = app.decode_as(&crowd.modest, &quick).await;

    assert_eq!((served.status, &served.json()["timing_ms"]["queue"]), (200, &json!(0.0)));
    let metrics = app.metrics().await;
    assert_eq!(metrics[depth], 14.0);
    gate.open();
    while let Some(status) = crowd.asked.join_next().await {
        assert_eq!(status.expect("no panic"), 200);
    }
}

#[tokio::test]
async fn who_asks_one_origin_for_everything_leaves_room_there() {
    let (upstream, gate) = slow().await;
    let mut crowd = Crowd::of(30, &upstream, "max_per_origin = 9", "fetch = 500").await;
    for _ in 0..8 {
        upstream.requested("/slow").await;
    }
    let in_flight = "decoder_http_requests_in_flight";
    crowd.app.metrics_when(|metrics| metrics[in_flight] == 30.0).await;

    let quick = json!({ "source": upstream.url("/quick") });
    let served = crowd.app.decode_as(&crowd.modest, &quick).await;

    assert_eq!(served.status, 200, "{served:?}");
    let slow = upstream.requests().iter().filter(|head| head.target == "/slow").count();
    assert_eq!(slow, 8);
    gate.open();
    while let Some(status) = crowd.asked.join_next().await {
        assert_eq!(status.expect("no panic"), 200);
    }
}

#[tokio::test]
async fn those_who_wait_take_turns_by_tenant_however_many_keys_and_addresses_they_have() {
    let (upstream, gate) = slow().await;
    for path in ["/a", "/b"] {
        upstream.on(path, Reply::ok("{*x*}"));
    }
    let mut crowd = Crowd::of(1, &upstream, "", "fetch = 1\nmax_wait = \"1h\"").await;
    upstream.requested("/slow").await;
    let Crowd { app, greedy, modest, asked } = &mut crowd;
    let depth = "decoder_queue_depth{pool=\"fetch\"}";
    for (waiting, path) in ["/a", "/a", "/a", "/b"].into_iter().enumerate() {
        let asking = app.asking(&json!({ "source": upstream.url(path) }));
        let asking = asking.bearer_auth(if path == "/a" { greedy.text() } else { modest.text() });
        asked.spawn(async move { Answer::of(asking).await.status });
        let waiting = waiting as f64 + 1.0;
        app.metrics_when(|metrics| metrics[depth] == waiting).await;
    }

    gate.open();
    while let Some(status) = asked.join_next().await {
        assert_eq!(status.expect("no panic"), 200);
    }

    let order: Vec<String> = upstream.requests().into_iter().map(|head| head.target).collect();
    assert_eq!(order, ["/slow", "/a", "/b", "/a", "/a"]);
}
