//! `keys new`: an API key, shown once, and the lines about it for the tenants file.

use super::{Failure, Result, print};
use crate::identity::{NewKey, NoRandomness, Role, TENANT_NAME, is_tenant_name};
use clap::{
    ArgGroup, Args, Subcommand,
    builder::{PossibleValuesParser, TypedValueParser},
};
use zeroize::Zeroizing;

#[derive(Debug, Args)]
pub(super) struct KeysArgs {
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// Make a key and print it, then the lines to add to the tenants file
    New(NewArgs),
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("owner").required(true))]
struct NewArgs {
    /// The tenant the key is for; its role is viewer or decoder
    #[arg(long, value_name = "NAME", group = "owner")]
    tenant: Option<String>,

    /// The key is for a member of staff; its role is auditor or operator
    #[arg(long, group = "owner")]
    staff: bool,

    /// The role of the key
    #[arg(long, value_name = "ROLE")]
    #[arg(value_parser = PossibleValuesParser::new(Role::ALL.map(Role::as_str)).try_map(role))]
    role: Role,
}

fn role(name: String) -> std::result::Result<Role, String> {
    Role::of_name(&name).ok_or(name)
}

/// Whose usage is shown where the parser sees no fault.
const COMMAND: &[&str] = &["keys", "new"];

pub(super) fn run(arguments: &KeysArgs) -> Result<()> {
    let KeysCommand::New(arguments) = &arguments.command;
    let roles: [Role; 2] = match arguments.staff {
        true => [Role::Auditor, Role::Operator],
        false => [Role::Viewer, Role::Decoder],
    };
    let role = arguments.role;
    if !roles.contains(&role) {
        let (owner, [one, other]) =
            (if arguments.staff { "--staff" } else { "--tenant" }, roles.map(Role::as_str));
        let fault = format!("--role {} is not for {owner}: use {one} or {other}", role.as_str());
        return Err(Failure::usage(COMMAND, fault));
    }
    if let Some(name) = arguments.tenant.as_ref().filter(|name| !is_tenant_name(name)) {
        let fault = format!("{name:?} is no name of a tenant: {TENANT_NAME}");
        return Err(Failure::usage(COMMAND, fault));
    }
    let key = NewKey::make().map_err(|NoRandomness| Failure::Work {
        code: "no_randomness",
        detail: "the system gives no random bytes".to_owned(),
    })?;
    print(told(&key, role, arguments.tenant.as_deref()).as_bytes())
}

/// The key, an empty line, and the lines for the file.
fn told(key: &NewKey, role: Role, tenant: Option<&str>) -> Zeroizing<String> {
    let NewKey { id, text, hash } = key;
    let entry = match tenant {
        Some(name) => format!(
            "# Without these two lines where the tenant is there already: then below it.\n\
             [[tenant]]\n\
             name = \"{name}\"\n\
             \n\
             [[tenant.key]]\n"
        ),
        None => "[[staff]]\n".to_owned(),
    };
    let role = role.as_str();
    let entry = format!("{entry}id = \"{id}\"\nsha256 = \"{hash}\"\nrole = \"{role}\"\n");
    let mut told = Zeroizing::new(String::with_capacity(text.len() + entry.len() + 2));
    for part in [text.as_str(), "\n\n", &entry] {
        told.push_str(part);
    }
    told
}
