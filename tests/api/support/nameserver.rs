//! A name server on loopback that answers what a test tells it to, over UDP and TCP.

#[cfg(feature = "real-tools")]
use std::collections::BTreeSet;
use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
    task::JoinSet,
};

/// What is said of a name.
#[derive(Clone)]
pub(crate) enum Says {
    /// Its addresses; of a kind that is not among them: none.
    Addresses(Vec<IpAddr>),
    /// It is another name.
    Alias(&'static str),
    /// Nothing but this code.
    Code(u8),
    /// Nothing at all.
    Nothing,
    /// Bytes that are no answer.
    Bytes(Vec<u8>),
    /// An answer to a question that nobody asked.
    Foreign(IpAddr),
    /// An address, and nothing at all of another family.
    OnlyIpv4(Ipv4Addr),
}

/// There is no such name.
pub(crate) const NX_DOMAIN: Says = Says::Code(3);
/// The server cannot say.
pub(crate) const SERVER_FAILURE: Says = Says::Code(2);

/// Stops when it is dropped.
pub(crate) struct NameServer {
    pub(crate) address: SocketAddr,
    said: Arc<Mutex<Said>>,
    _serving: JoinSet<()>,
}

#[derive(Default)]
struct Said {
    /// By name; each is said once for each kind of question, the last one from then on.
    names: HashMap<String, Vec<Says>>,
    /// How often was asked, by name and kind.
    asked: HashMap<(String, u16), usize>,
}

const A: u16 = 1;
const ALIAS: u16 = 5;
const AAAA: u16 = 28;
/// More does not fit into a datagram: the same is asked over TCP.
const DATAGRAM: usize = 1200;

impl NameServer {
    pub(crate) async fn start() -> Self {
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
            let address = udp.local_addr().expect("bound");
            if let Ok(tcp) = TcpListener::bind(address).await {
                break (udp, tcp);
            }
        };
        Self::on_sockets(udp, tcp)
    }

    /// Where a system asks, in a network of its own.
    #[cfg(feature = "real-tools")]
    pub(crate) async fn of_the_system() -> Self {
        let address = "127.0.0.1:53";
        let udp = UdpSocket::bind(address).await.expect("a network of its own");
        let tcp = TcpListener::bind(address).await.expect("a network of its own");
        Self::on_sockets(udp, tcp)
    }

    fn on_sockets(udp: UdpSocket, tcp: TcpListener) -> Self {
        let address = udp.local_addr().expect("bound");
        let said = Arc::<Mutex<Said>>::default();
        let mut serving = JoinSet::new();
        serving.spawn(datagrams(udp, Arc::clone(&said)));
        serving.spawn(streams(tcp, Arc::clone(&said)));
        Self { address, said, _serving: serving }
    }

    /// What to say of a name; said again, it is what comes next.
    pub(crate) fn on(&self, name: &str, says: Says) {
        let mut said = self.said.lock().expect("no panic");
        said.names.entry(name.to_owned()).or_default().push(says);
    }

    /// The same for addresses.
    pub(crate) fn at(&self, name: &str, addresses: &[&str]) {
        let addresses = addresses.iter().map(|text| text.parse().expect("an address"));
        self.on(name, Says::Addresses(addresses.collect()));
    }

    /// Every name that it was asked for, of whatever kind.
    #[cfg(feature = "real-tools")]
    pub(crate) fn names_asked(&self) -> BTreeSet<String> {
        let said = self.said.lock().expect("no panic");
        said.asked.keys().map(|(name, _)| name.clone()).collect()
    }

    /// How often it was asked for the IPv4 addresses of a name.
    pub(crate) fn asked(&self, name: &str) -> usize {
        let said = self.said.lock().expect("no panic");
        said.asked.get(&(name.to_owned(), A)).copied().unwrap_or_default()
    }
}

async fn datagrams(socket: UdpSocket, said: Arc<Mutex<Said>>) {
    let mut buffer = [0; 4096];
    while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
        if let Some(answer) = answer(&buffer[..length], &said, true) {
            let _ = socket.send_to(&answer, from).await;
        }
    }
}

async fn streams(listener: TcpListener, said: Arc<Mutex<Said>>) {
    let mut streams = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        streams.spawn(stream_of_questions(stream, Arc::clone(&said)));
    }
}

async fn stream_of_questions(mut stream: TcpStream, said: Arc<Mutex<Said>>) {
    while let Ok(length) = stream.read_u16().await {
        let mut question = vec![0; length.into()];
        if stream.read_exact(&mut question).await.is_err() {
            return;
        }
        let Some(answer) = answer(&question, &said, false) else { continue };
        let length = u16::try_from(answer.len()).expect("it fits into a message");
        let message = [&length.to_be_bytes()[..], &answer].concat();
        if stream.write_all(&message).await.is_err() {
            return;
        }
    }
}

fn answer(question: &[u8], said: &Mutex<Said>, is_datagram: bool) -> Option<Vec<u8>> {
    let (name, end) = name_at(question, 12)?;
    let kind = u16::from_be_bytes(question.get(end..end + 2)?.try_into().ok()?);
    let says = {
        let mut said = said.lock().expect("no panic");
        let asked = said.asked.entry((name.clone(), kind)).or_default();
        let place = *asked;
        // What did not fit is asked once more.
        *asked += 1;
        let all = said.names.get(&name)?;
        all[place.min(all.len() - 1)].clone()
    };
    let mut records: Vec<(u16, Vec<u8>)> = Vec::new();
    let (mut code, mut asked) = (0, question[12..end + 4].to_vec());
    match says {
        Says::Nothing => return None,
        Says::OnlyIpv4(_) if kind != A => return None,
        Says::OnlyIpv4(address) => records.push((A, address.octets().to_vec())),
        Says::Bytes(bytes) => return Some([&question[..2], &bytes].concat()),
        Says::Code(says) => code = says,
        Says::Alias(other) => records.push((ALIAS, encoded(other))),
        Says::Addresses(addresses) => {
            records.extend(addresses.iter().filter_map(|address| match (kind, address) {
                (A, IpAddr::V4(address)) => Some((A, address.octets().to_vec())),
                (AAAA, IpAddr::V6(address)) => Some((AAAA, address.octets().to_vec())),
                _ => None,
            }));
        }
        Says::Foreign(address) => {
            asked = [encoded("foreign.test"), vec![0, 1, 0, 1]].concat();
            if let IpAddr::V4(address) = address {
                records.push((A, address.octets().to_vec()));
            }
        }
    }
    let count = u16::try_from(records.len()).expect("that many fit");
    let mut body = asked;
    for (kind, data) in &records {
        // The name of the question, for a minute.
        body.extend([0xc0, 12]);
        body.extend(kind.to_be_bytes());
        body.extend([0, 1, 0, 0, 0, 60]);
        body.extend(u16::try_from(data.len()).expect("short").to_be_bytes());
        body.extend(data);
    }
    let is_cut = is_datagram && body.len() > DATAGRAM;
    let mut answer = question[..2].to_vec();
    // An answer, by who recurses; perhaps cut off.
    answer.extend([0x81 | u8::from(is_cut) << 1, 0x80 | code]);
    answer.extend([0, 1]);
    answer.extend(if is_cut { 0 } else { count }.to_be_bytes());
    answer.extend([0; 4]);
    let end = end + 4 - 12;
    answer.extend(if is_cut { &body[..end] } else { &body[..] });
    Some(answer)
}

/// The name at a place, in lower case, and where it ends.
fn name_at(message: &[u8], mut at: usize) -> Option<(String, usize)> {
    let mut labels = Vec::new();
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1;
        if length == 0 {
            return Some((labels.join("."), at));
        }
        let label = std::str::from_utf8(message.get(at..at + length)?).ok()?;
        labels.push(label.to_ascii_lowercase());
        at += length;
    }
}

fn encoded(name: &str) -> Vec<u8> {
    let label = |label: &str| {
        let length = u8::try_from(label.len()).expect("a short label");
        [&[length], label.as_bytes()].concat()
    };
    let mut bytes: Vec<u8> = name.split('.').flat_map(label).collect();
    bytes.push(0);
    bytes
}
