//! An open-loop load: requests are due at moments that no answer moves, and how long one
//! took counts from the moment when it was due.

use crate::{
    answer::{Answer, Reading},
    figures::Latencies,
};
use rustix::{
    buffer::spare_capacity,
    event::{Timespec, epoll},
    net::{AddressFamily, SocketFlags, SocketType, connect, socket_with},
};
use std::{
    collections::{BTreeMap, VecDeque},
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

/// Requests at a constant rate.
pub(crate) struct Flow<'a> {
    pub(crate) request: &'a [u8],
    /// A second.
    pub(crate) rate: f64,
    /// When it begins and ends, from the beginning of the run.
    pub(crate) from: Duration,
    pub(crate) until: Duration,
}

/// What became of one request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    /// When it was due, in microseconds from the beginning of the run.
    pub(crate) due: u32,
    /// From then until the last byte of its answer.
    pub(crate) latency: u32,
    /// From then until it began to be sent.
    pub(crate) lag: u32,
    /// Of the answer, or [`NOT_SENT`], [`GIVEN_UP`], [`CLOSED`] or [`RESET`].
    pub(crate) status: u16,
    pub(crate) has_retry_after: bool,
}

/// What became of a flow.
pub(crate) struct Outcome {
    pub(crate) samples: Vec<Sample>,
    pub(crate) length: Duration,
}

/// A generator with its connections to one address.
pub(crate) struct Generator {
    address: SocketAddr,
    epoll: OwnedFd,
    connections: Vec<Option<Connection>>,
    idle: Vec<usize>,
    vacant: Vec<usize>,
    open: usize,
}

struct Connection {
    stream: TcpStream,
    /// What is asked for and not answered.
    asked: Option<Asked>,
    reading: Reading,
    /// Whether it is told when there is room to write.
    wants_room: bool,
}

#[derive(Clone, Copy)]
struct Asked {
    flow: usize,
    due: Duration,
    began: Duration,
    sent: usize,
}

/// The status of what was due while no connection was free until the end of its flow.
pub(crate) const NOT_SENT: u16 = 1;
/// The status of what had no answer long after the end of its flow,
pub(crate) const GIVEN_UP: u16 = 2;
/// whose connection was closed in its place,
pub(crate) const CLOSED: u16 = 3;
/// or reset.
pub(crate) const RESET: u16 = 4;

/// Below the service's own bound, so that it closes none for want of room.
const MAX_CONNECTIONS: usize = 3000;
/// How long an answer is waited for after the end.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long is slept at the most.
const NAP: Duration = Duration::from_millis(5);

impl Generator {
    pub(crate) fn new(address: SocketAddr) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let (connections, idle, vacant) = Default::default();
        Ok(Self { address, epoll, connections, idle, vacant, open: 0 })
    }

    /// Sends all flows, and waits for the answers.
    pub(crate) fn run(&mut self, flows: &[Flow<'_>]) -> io::Result<Vec<Outcome>> {
        let mut run = Run {
            flows,
            next: vec![0; flows.len()],
            waiting: VecDeque::new(),
            samples: vec![Vec::new(); flows.len()],
            began: Instant::now(),
            missing: 0,
        };
        let end = flows.iter().map(|flow| flow.until).max().unwrap_or_default();
        let mut events = Vec::with_capacity(256);
        let mut buffer = vec![0; 256 * 1024];
        loop {
            let now = run.began.elapsed();
            let next_due = run.collect(now);
            self.send_waiting(&mut run)?;
            if now > end && (run.missing == 0 || now > end + PATIENCE) {
                break;
            }
            let nap = next_due.map_or(NAP, |due| due.saturating_sub(run.began.elapsed()).min(NAP));
            let nap = Timespec { tv_sec: 0, tv_nsec: nap.as_nanos().try_into().unwrap_or(0) };
            events.clear();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&nap)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in &events {
                let at = event.data.u64() as usize;
                self.attend(at, &mut run, &mut buffer)?;
            }
        }
        // What is not answered by now is given up, with its connection.
        for at in 0..self.connections.len() {
            if let Some(asked) = self.connections[at].as_ref().and_then(|it| it.asked) {
                run.note(asked, nothing(GIVEN_UP));
                self.close(at);
            }
        }
        let outcome = |(flow, samples): (&Flow<'_>, Vec<Sample>)| Outcome {
            samples,
            length: flow.until.saturating_sub(flow.from),
        };
        Ok(flows.iter().zip(run.samples).map(outcome).collect())
    }

    fn send_waiting(&mut self, run: &mut Run<'_>) -> io::Result<()> {
        while let Some((flow, due)) = run.waiting.front().copied() {
            let now = run.began.elapsed();
            if now > run.flows[flow].until {
                run.waiting.pop_front();
                run.note(Asked { flow, due, began: now, sent: 0 }, nothing(NOT_SENT));
                continue;
            }
            let at = match self.idle.pop() {
                Some(at) => at,
                None if self.open < MAX_CONNECTIONS => self.open()?,
                None => break,
            };
            run.waiting.pop_front();
            if let Some(connection) = &mut self.connections[at] {
                connection.asked = Some(Asked { flow, due, began: now, sent: 0 });
                self.write(at, run)?;
            }
        }
        Ok(())
    }

    fn open(&mut self) -> io::Result<usize> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
        match connect(&socket, &self.address) {
            Ok(()) | Err(rustix::io::Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true)?;
        let at = self.vacant.pop().unwrap_or_else(|| {
            self.connections.push(None);
            self.connections.len() - 1
        });
        let (data, flags) = (epoll::EventData::new_u64(at as u64), epoll::EventFlags::IN);
        epoll::add(&self.epoll, &stream, data, flags)?;
        let reading = Reading::default();
        self.connections[at] = Some(Connection { stream, asked: None, reading, wants_room: false });
        self.open += 1;
        Ok(at)
    }

    fn close(&mut self, at: usize) {
        if self.connections[at].take().is_some() {
            self.vacant.push(at);
            self.open -= 1;
        }
    }

    fn write(&mut self, at: usize, run: &mut Run<'_>) -> io::Result<()> {
        let Some(connection) = &mut self.connections[at] else { return Ok(()) };
        let Some(asked) = &mut connection.asked else { return Ok(()) };
        let request = run.flows[asked.flow].request;
        let mut wants_room = false;
        while asked.sent < request.len() {
            match connection.stream.write(&request[asked.sent..]) {
                Ok(written) => asked.sent += written,
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) =>
                {
                    wants_room = true;
                    break;
                }
                // What there is to read tells why.
                Err(_) => break,
            }
        }
        if wants_room != connection.wants_room {
            connection.wants_room = wants_room;
            let room = if wants_room { epoll::EventFlags::OUT } else { epoll::EventFlags::empty() };
            let data = epoll::EventData::new_u64(at as u64);
            epoll::modify(&self.epoll, &connection.stream, data, epoll::EventFlags::IN | room)?;
        }
        Ok(())
    }

    /// Something happened on a connection.
    fn attend(&mut self, at: usize, run: &mut Run<'_>, buffer: &mut [u8]) -> io::Result<()> {
        let Some(connection) = &mut self.connections[at] else { return Ok(()) };
        let answer = match connection.stream.read(buffer) {
            Ok(0) => Err(CLOSED),
            Ok(read) => connection.reading.take(&buffer[..read]).map_err(|_| RESET),
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) =>
            {
                Ok(None)
            }
            Err(_) => Err(RESET),
        };
        match (answer, connection.asked) {
            (Ok(None), _) if connection.wants_room => self.write(at, run)?,
            (Ok(None), _) => {}
            (Ok(Some(answer)), Some(asked)) => {
                run.note(asked, answer);
                let is_whole = asked.sent == run.flows[asked.flow].request.len();
                connection.asked = None;
                if answer.closes || !is_whole {
                    self.close(at);
                } else {
                    self.idle.push(at);
                }
            }
            (Err(how), Some(asked)) => {
                run.note(asked, nothing(how));
                self.close(at);
            }
            (_, None) => {
                self.idle.retain(|idle| *idle != at);
                self.close(at);
            }
        }
        Ok(())
    }
}

/// No answer.
fn nothing(status: u16) -> Answer {
    Answer { status, ..Answer::default() }
}

struct Run<'a> {
    flows: &'a [Flow<'a>],
    /// How many of each flow are due.
    next: Vec<usize>,
    /// Due and without a connection: the flow, and when it was due.
    waiting: VecDeque<(usize, Duration)>,
    samples: Vec<Vec<Sample>>,
    began: Instant,
    /// Due and not answered.
    missing: usize,
}

impl Run<'_> {
    /// Queues what is due; when the next one is.
    fn collect(&mut self, now: Duration) -> Option<Duration> {
        let mut soonest = None;
        for (index, flow) in self.flows.iter().enumerate() {
            loop {
                let due = flow.from + Duration::from_secs_f64(self.next[index] as f64 / flow.rate);
                if due >= flow.until {
                    break;
                }
                if due > now {
                    soonest = Some(soonest.map_or(due, |soonest: Duration| soonest.min(due)));
                    break;
                }
                self.next[index] += 1;
                self.missing += 1;
                self.waiting.push_back((index, due));
            }
        }
        soonest
    }

    fn note(&mut self, asked: Asked, answer: Answer) {
        let micros = |of: Duration| u32::try_from(of.as_micros()).unwrap_or(u32::MAX);
        self.missing -= 1;
        self.samples[asked.flow].push(Sample {
            due: micros(asked.due),
            latency: micros(self.began.elapsed().saturating_sub(asked.due)),
            lag: micros(asked.began.saturating_sub(asked.due)),
            status: answer.status,
            has_retry_after: answer.has_retry_after,
        });
    }
}

impl Outcome {
    pub(crate) fn with(&self, status: u16) -> impl Iterator<Item = &Sample> {
        self.samples.iter().filter(move |sample| sample.status == status)
    }

    /// From the moment when each began to be sent.
    pub(crate) fn latencies_since_sent(&self, status: u16) -> Latencies {
        Latencies::of(self.with(status).map(|sample| sample.latency - sample.lag))
    }

    pub(crate) fn latencies(&self, status: u16) -> Latencies {
        Latencies::of(self.with(status).map(|sample| sample.latency))
    }

    /// Answered well within the time of the flow, a second.
    pub(crate) fn goodput(&self) -> f64 {
        let first = self.samples.iter().map(|sample| sample.due).min().unwrap_or(0);
        let end = u64::from(first) + self.length.as_micros() as u64;
        let is_within = |sample: &&Sample| u64::from(sample.due) + u64::from(sample.latency) <= end;
        self.with(200).filter(is_within).count() as f64 / self.length.as_secs_f64()
    }

    /// Begun to be sent within the time of the flow, a second.
    pub(crate) fn sent(&self) -> f64 {
        let end = self.length.as_micros() as u64;
        let first = self.samples.iter().map(|sample| sample.due).min().unwrap_or(0);
        let is_within =
            |sample: &&Sample| u64::from(sample.due - first) + u64::from(sample.lag) <= end;
        self.samples.iter().filter(is_within).count() as f64 / self.length.as_secs_f64()
    }

    /// How many ended in which way, those left out that ended as expected.
    pub(crate) fn unexpected(&self, expected: &[u16]) -> Vec<(String, usize)> {
        let mut counts = BTreeMap::new();
        let others = self.samples.iter().filter(|sample| !expected.contains(&sample.status));
        for sample in others {
            *counts.entry(sample.status).or_insert(0) += 1;
        }
        counts.into_iter().map(|(status, count)| (meaning(status), count)).collect()
    }
}

fn meaning(status: u16) -> String {
    match status {
        NOT_SENT => "not sent".to_owned(),
        GIVEN_UP => "given up".to_owned(),
        CLOSED => "closed".to_owned(),
        RESET => "reset".to_owned(),
        status => status.to_string(),
    }
}
