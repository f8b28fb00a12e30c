//! What name servers can say, and what it comes to.

use crate::support::{
    app::{Answer, TestApp},
    nameserver::{NX_DOMAIN, NameServer, SERVER_FAILURE, Says},
    upstream::{Reply, Step::Send, Upstream},
};
use serde_json::json;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use tokio::net::{TcpSocket, TcpStream};

/// A source, a name server, and a service that asks it, allowed to go to any address of
/// 127.0.0.0/8 at the port of the source.
struct World {
    upstream: Upstream,
    names: NameServer,
    app: TestApp,
}

impl World {
    async fn new(egress: &str) -> Self {
        let upstream = Upstream::plain().await;
        upstream.on("/", Reply::stream([Send("{*x*}".into())]));
        let names = NameServer::start().await;
        let config = format!(
            "[egress]\nallow = [{{ url = \"http://*:{port}\", addresses = [\"127.0.0.0/8\"] }}]\n\
             nameservers = [\"{}\"]\ncircuit.enabled = false\nattempts = 1\n{egress}\n",
            names.address,
            port = upstream.address().port(),
        );
        let app = TestApp::start(&config).await;
        Self { upstream, names, app }
    }

    async fn decode(&self, name: &str) -> Answer {
        let port = self.upstream.address().port();
        self.app.decode(&json!({ "source": format!("http://{name}:{port}/") })).await
    }

    async fn denied(&self, name: &str) {
        let connections = self.upstream.connections();
        self.decode(name).await.discreet_problem(403, "source_denied");
        assert_eq!(self.upstream.connections(), connections, "{name}");
    }
}

#[tokio::test]
async fn name_servers_of_the_configuration_are_asked() {
    let world = World::new("").await;
    world.names.at("a.test", &["127.0.0.1"]);

    let answer = world.decode("A.test.").await;

    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.json()["timing_ms"]["dns"].as_f64().expect("a time") > 0.0);
    assert_eq!(world.names.asked("a.test"), 1);
    // That of this machine is known to all, with an address that is not allowed here.
    for name in ["localhost", "a.localhost"] {
        world.names.at(name, &["127.0.0.1"]);
        world.denied(name).await;
        assert_eq!(world.names.asked(name), 0);
    }
}

#[tokio::test]
async fn one_forbidden_answer_denies_all() {
    let world = World::new("").await;
    let good = "127.0.0.1";
    for (at, bad) in ["10.0.0.1", "169.254.169.254", "::1", "fd00::1", "::ffff:127.0.0.1"]
        .into_iter()
        .enumerate()
    {
        for (order, addresses) in [[good, bad], [bad, good]].into_iter().enumerate() {
            let name = format!("mixed-{at}-{order}.test");
            world.names.at(&name, &addresses);
            world.denied(&name).await;
        }
    }
    let events = "decoder_security_events_total{kind=\"address\"}";
    assert_eq!(world.app.metrics().await[events], 10.0);
}

#[tokio::test]
async fn an_alias_is_judged_by_where_it_leads() {
    let world = World::new("").await;
    world.names.on("good.test", Says::Alias("other.test"));
    world.names.at("other.test", &["127.0.0.1"]);
    world.names.on("bad.test", Says::Alias("inner.test"));
    world.names.at("inner.test", &["10.0.0.1"]);
    world.names.on("loop.test", Says::Alias("pool.test"));
    world.names.on("pool.test", Says::Alias("loop.test"));
    world.names.on("self.test", Says::Alias("self.test"));

    assert_eq!(world.decode("good.test").await.status, 200);
    world.denied("bad.test").await;
    for name in ["loop.test", "self.test"] {
        world.decode(name).await.discreet_problem(424, "source_failed");
        assert!(world.names.asked(name) < 20, "{}", world.names.asked(name));
    }
}

#[tokio::test]
async fn a_server_that_changes_its_mind_is_asked_once_for_each_connection() {
    let world = World::new("").await;
    world.names.at("rebind.test", &["127.0.0.1"]);
    world.names.at("rebind.test", &["10.0.0.1"]);
    world.names.at("rebind.test", &["127.0.0.1"]);

    assert_eq!(world.decode("rebind.test").await.status, 200);
    assert_eq!(world.names.asked("rebind.test"), 1);
    // The source has closed the connection: another lookup, judged anew.
    world.denied("rebind.test").await;
    assert_eq!(world.names.asked("rebind.test"), 2);
    assert_eq!(world.decode("rebind.test").await.status, 200);
    assert_eq!(world.names.asked("rebind.test"), 3);
}

#[tokio::test]
async fn a_connection_that_is_there_needs_no_lookup() {
    let world = World::new("").await;
    world.upstream.on("/kept", Reply::ok("{*x*}"));
    world.names.at("kept.test", &["127.0.0.1"]);
    let port = world.upstream.address().port();
    let source = format!("http://kept.test:{port}/kept");
    for _ in 0..3 {
        assert_eq!(world.app.decode(&json!({ "source": source })).await.status, 200);
    }
    assert_eq!((world.names.asked("kept.test"), world.upstream.connections()), (1, 1));
}

#[tokio::test]
async fn what_is_no_answer_is_none() {
    let world = World::new("connect_timeout = \"600ms\"").await;
    world.names.on("nx.test", NX_DOMAIN);
    world.names.on("empty.test", Says::Addresses(Vec::new()));
    world.names.on("failing.test", SERVER_FAILURE);
    world.names.on("refused.test", Says::Code(5));
    world.names.on("garbage.test", Says::Bytes(b"\xff\xff\xff\xff".to_vec()));
    // A name that goes on where it began.
    world.names.on("pointer.test", Says::Bytes(b"\x81\x80\0\x01\0\x01\0\0\0\0\xc0\x0c".to_vec()));
    for name in ["nx", "empty", "failing", "refused", "garbage", "pointer"] {
        let answer = world.decode(&format!("{name}.test")).await;
        let problem = answer.discreet_problem(424, "source_failed");
        assert_eq!(problem["attempts"], 1, "{name}");
    }
    world.names.on("silent.test", Says::Nothing);
    world.names.on("other.test", Says::Foreign(IpAddr::from([127, 0, 0, 1])));
    for name in ["silent", "other"] {
        let answer = world.decode(&format!("{name}.test")).await;
        assert_eq!(answer.status, 424, "{name} {answer:?}");
    }
    assert_eq!(world.upstream.connections(), 0);
}

#[tokio::test]
async fn a_server_that_says_nothing_of_one_family_is_not_waited_for_for_ever() {
    let world = World::new("").await;
    world.names.on("half.test", Says::OnlyIpv4(Ipv4Addr::LOCALHOST));

    let answer = world.decode("half.test").await;

    assert_eq!(answer.status, 200, "{answer:?}");
}

#[tokio::test]
async fn an_enormous_answer_is_judged_as_a_whole() {
    let world = World::new("").await;
    let many: Vec<IpAddr> =
        (1..4000u32).map(|low| Ipv4Addr::from_bits(0x7f00_0000 | low).into()).collect();
    world.names.on("many.test", Says::Addresses(many.clone()));
    let forbidden = [many, vec![IpAddr::from([10, 0, 0, 1])]].concat();
    world.names.on("one-bad.test", Says::Addresses(forbidden));

    let answer = world.decode("many.test").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    world.denied("one-bad.test").await;
}

#[tokio::test]
async fn a_dead_address_moves_on_to_the_next_one() {
    let world = World::new("connect_timeout = \"4s\"").await;
    let port = world.upstream.address().port();
    // Nobody listens there.
    world.names.at("closed.test", &["127.0.0.2", "127.0.0.1"]);
    assert_eq!(world.decode("closed.test").await.status, 200);

    // Nobody says anything there: its backlog is full.
    let silent = SocketAddr::from(([127, 0, 0, 3], port));
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(silent).expect("free");
    let _listener = socket.listen(0).expect("listens");
    let _first = TcpStream::connect(silent).await.expect("room for one");
    world.names.at("dead.test", &["127.0.0.3", "127.0.0.1"]);

    let answer = world.decode("dead.test").await;

    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["fetch"]["attempts"], 1);
}
