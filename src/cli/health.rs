//! `health`: whether a running service is alive, or ready.

use super::{Failure, Result, config_args::ConfigArgs, print};
use clap::Args;
use std::{
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs},
    time::Duration,
};

#[derive(Debug, Args)]
pub(super) struct HealthArgs {
    #[command(flatten)]
    config: ConfigArgs,

    /// Ask whether the service is ready for requests, not only whether it is alive
    #[arg(long)]
    ready: bool,

    /// The URL of the service [default: the configured admin listener, or the public one]
    #[arg(long, value_name = "URL", value_parser = base)]
    url: Option<Base>,
}

/// Where a service is: `http://host[:port]`.
#[derive(Debug, Clone)]
struct Base(String);

/// How long connecting, and then each step, may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// No answer about health is longer.
const MAX_ANSWER: u64 = 64 * 1024;

pub(super) fn run(arguments: &HealthArgs) -> Result<()> {
    let (authority, host) = match &arguments.url {
        Some(Base(authority)) => (authority.clone(), authority.clone()),
        None => {
            let server = arguments.config.load(&[])?.config.server;
            let authority = reachable(server.admin_bind.unwrap_or(server.bind)).to_string();
            // The public listener answers to the names that are listed, if any are.
            let listed = server.allowed_hosts.into_iter().next();
            let host = listed.filter(|_| server.admin_bind.is_none());
            let host = host.unwrap_or_else(|| authority.clone());
            (authority, host)
        }
    };
    let path = if arguments.ready { "/health/ready" } else { "/health" };
    let no_answer = |error: io::Error| Failure::Work {
        code: "not_healthy",
        detail: format!("no answer from http://{authority}{path}: {error}"),
    };
    let answer = get(&authority, &host, path).map_err(no_answer)?;
    let (status, body) =
        split(&answer).ok_or_else(|| no_answer(io::ErrorKind::InvalidData.into()))?;
    if status == "200" {
        return print(format!("{}\n", body.trim_end()).as_bytes());
    }
    let detail = format!("http://{authority}{path} answered {status}: {}", body.trim_end());
    Err(Failure::Work { code: "not_healthy", detail })
}

/// An address that a listener can be reached at from its own machine.
pub(super) fn reachable(bind: SocketAddr) -> SocketAddr {
    let ip = match bind.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, bind.port())
}

fn base(url: &str) -> std::result::Result<Base, String> {
    let authority = url.strip_prefix("http://").map(|rest| rest.strip_suffix('/').unwrap_or(rest));
    let fits = |authority: &&str| {
        !authority.is_empty()
            && authority.chars().all(|c| c.is_ascii_graphic() && !"/@?#".contains(c))
    };
    let authority =
        authority.filter(fits).ok_or("write http://host[:port], such as http://127.0.0.1:8080")?;
    let after_address = authority.rsplit_once(']').map_or(authority, |(_, after)| after);
    let port = if after_address.contains(':') { "" } else { ":80" };
    Ok(Base(format!("{authority}{port}")))
}

/// Asks, and returns all of the answer.
fn get(authority: &str, host: &str, path: &str) -> io::Result<String> {
    let mut last = io::ErrorKind::NotFound.into();
    for address in authority.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => return ask(stream, host, path),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn ask(mut stream: TcpStream, host: &str, path: &str) -> io::Result<String> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let head = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    let mut answer = String::new();
    stream.take(MAX_ANSWER).read_to_string(&mut answer)?;
    Ok(answer)
}

/// The status and the body.
fn split(answer: &str) -> Option<(&str, &str)> {
    let status = answer.strip_prefix("HTTP/1.1 ")?.get(..3)?;
    Some((status, answer.split_once("\r\n\r\n")?.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_service_is() {
        let check = |url: &str, expected: Option<&str>| {
            assert_eq!(base(url).ok().map(|Base(base)| base).as_deref(), expected, "{url}");
        };
        check("http://127.0.0.1:8080", Some("127.0.0.1:8080"));
        check("http://localhost/", Some("localhost:80"));
        check("http://[::1]", Some("[::1]:80"));
        check("http://[::1]:8080/", Some("[::1]:8080"));
        check("https://localhost", None);
        check("localhost:8080", None);
        check("http://localhost/x", None);
        check("http://a@b", None);
        check("http://", None);
    }

    #[test]
    fn a_listener_for_everyone_is_reached_at_home() {
        let check = |bind: &str, expected: &str| {
            assert_eq!(reachable(bind.parse().unwrap()).to_string(), expected);
        };
        check("0.0.0.0:80", "127.0.0.1:80");
        check("[::]:80", "[::1]:80");
        check("10.0.0.1:80", "10.0.0.1:80");
    }
}
