//! The service as a process of its own, on ports of its own, with its log at hand.

use super::upstream::Upstream;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::retry_on_intr,
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    net::SocketAddr,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};
use tempfile::{NamedTempFile, TempPath};
use tokio::{sync::Notify, task::spawn_blocking, time::timeout};

/// How long anything may take that is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Names another binary that is to be tested.
pub(crate) const TESTED_BINARY: &str = "TESTED_BINARY";

/// The program, whatever the environment says.
pub(crate) fn program() -> Command {
    let ours = || env!("CARGO_BIN_EXE_blueprint-decoder").into();
    program_of(std::env::var_os(TESTED_BINARY).unwrap_or_else(ours).as_ref())
}

fn program_of(binary: &Path) -> Command {
    let mut command = Command::new(binary);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("DECODER") {
            command.env_remove(name);
        }
    }
    command
}

/// Takes away what hinders tests that are not about it: those whose configuration does not
/// speak of it.
pub(crate) fn undisturbed(command: &mut Command, config: &str) {
    for (key, variable, value) in [
        ("notice", "DECODER__SERVER__SHUTDOWN__NOTICE", "0s"),
        ("[rate_limit]", "DECODER__RATE_LIMIT__ENABLED", "false"),
    ] {
        if !config.contains(key) {
            command.env(variable, value);
        }
    }
}

/// A configuration that allows upstreams and trusts an authority; `egress` are more keys
/// of `[egress]`.
pub(crate) fn allowing(upstreams: &[&Upstream], ca: &Path, egress: &str) -> String {
    let rule = |(place, upstream): (usize, &&Upstream)| {
        let (origin, address) = (upstream.url(""), upstream.address());
        let name = ["test", "second", "third"][place];
        format!("{{ url = \"{origin}\", name = \"{name}\", addresses = [\"{address}\"] }}")
    };
    let rules = upstreams.iter().enumerate().map(rule).collect::<Vec<_>>().join(", ");
    format!(
        "[egress]\nallow = [{rules}]\nhosts.\"source.test\" = [\"127.0.0.1\"]\n\
         extra_ca_file = {ca:?}\n{egress}\n"
    )
}

/// A running service; stopped when it is dropped.
pub(crate) struct TestApp {
    child: Child,
    /// The same process, to wait for its end.
    process: Arc<OwnedFd>,
    /// Where it serves clients.
    pub(crate) address: SocketAddr,
    /// Where it serves the operator, where the configuration says so.
    pub(crate) admin: Option<SocketAddr>,
    pub(crate) client: reqwest::Client,
    log: Arc<Log>,
    _files: Vec<TempPath>,
}

#[derive(Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    changed: Notify,
}

impl TestApp {
    /// Starts the service with a configuration in TOML; it listens on a free port.
    pub(crate) async fn start(config: &str) -> Self {
        Self::start_with(config, Vec::new(), &[]).await
    }

    /// The same, with more variables in its environment.
    pub(crate) async fn start_in(environment: &[(&str, &str)], config: &str) -> Self {
        Self::start_with(config, Vec::new(), environment).await
    }

    /// The same, allowed to fetch from an upstream: `egress` are more keys of `[egress]`.
    pub(crate) async fn with_source(upstream: &Upstream, egress: &str, config: &str) -> Self {
        Self::with_sources(&[upstream], egress, config).await
    }

    /// The same with several.
    pub(crate) async fn with_sources(upstreams: &[&Upstream], egress: &str, config: &str) -> Self {
        let ca = Upstream::ca_file();
        let config = allowing(upstreams, &ca, egress) + config;
        Self::start_with(&config, vec![ca], &[]).await
    }

    /// The same, with more variables in its environment.
    pub(crate) async fn with_source_and_environment(
        upstream: &Upstream,
        egress: &str,
        config: &str,
        environment: &[(&str, &str)],
    ) -> Self {
        let ca = Upstream::ca_file();
        let config = allowing(&[upstream], &ca, egress) + config;
        Self::start_with(&config, vec![ca], environment).await
    }

    async fn start_with(config: &str, files: Vec<TempPath>, environment: &[(&str, &str)]) -> Self {
        Self::start_program(program(), config, files, environment).await
    }

    /// Starts another binary in the same way.
    #[cfg(feature = "real-tools")]
    pub(crate) async fn of_binary(binary: &Path, config: &str) -> Self {
        Self::start_program(program_of(binary), config, Vec::new(), &[]).await
    }

    async fn start_program(
        mut command: Command,
        config: &str,
        mut files: Vec<TempPath>,
        environment: &[(&str, &str)],
    ) -> Self {
        let file = NamedTempFile::with_suffix(".toml").expect("a file");
        std::fs::write(file.path(), config).expect("written");
        undisturbed(&mut command, config);
        command.envs(environment.iter().copied());
        command.arg("serve").arg("--config").arg(file.path()).args(["--bind", "127.0.0.1:0"]);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the binary starts");
        let process = pidfd_open(Pid::from_child(&child), PidfdFlags::empty());
        let process = Arc::new(process.expect("a process"));
        files.push(file.into_temp_path());
        let log = Arc::new(Log::default());
        let (stdout, reading) = (child.stdout.take().expect("a pipe"), Arc::clone(&log));
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                reading.lines.lock().expect("not poisoned").push(line);
                reading.changed.notify_waiters();
            }
        });
        let nowhere = SocketAddr::from(([0; 4], 0));
        let client = client();
        // From here on, the process is stopped whatever happens.
        let mut app =
            Self { child, process, address: nowhere, admin: None, client, log, _files: files };
        app.address = app.listens("public").await;
        if config.contains("admin_bind") {
            app.admin = Some(app.listens("admin").await);
        }
        app
    }

    async fn listens(&self, serves: &str) -> SocketAddr {
        let is_it = |line: &Value| line["message"] == "listening" && line["serves"] == serves;
        let line = self.log_line(is_it).await;
        line["address"].as_str().expect("an address").parse().expect("an address")
    }

    /// A URL of the public listener.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The id of the process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The most memory that the process has had, in bytes.
    pub(crate) fn peak_memory(&self) -> u64 {
        let path = format!("/proc/{}/status", self.pid());
        let status = std::fs::read_to_string(path).expect("a process");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = peak.and_then(|text| text.trim().strip_suffix(" kB")).expect("a size");
        kilobytes.parse::<u64>().expect("a number") << 10
    }

    /// A `POST /decode` in JSON, not sent yet.
    pub(crate) fn asking(&self, body: &Value) -> reqwest::RequestBuilder {
        let request = self.client.post(self.url("/decode"));
        request.header("Content-Type", "application/json").body(body.to_string())
    }

    /// Asks for a decode in JSON.
    pub(crate) async fn decode(&self, body: &Value) -> Answer {
        Answer::of(self.asking(body)).await
    }

    /// Hands over a document; `query` with its question mark.
    pub(crate) async fn decode_document(
        &self,
        query: &str,
        document: impl Into<reqwest::Body>,
    ) -> Answer {
        let request = self.client.post(self.url(&format!("/decode{query}")));
        Answer::of(request.header("Content-Type", "text/plain").body(document)).await
    }

    /// Gets a page or a document of the service.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        Answer::of(self.client.get(self.url(path))).await
    }

    /// Gets a page of the operator's listener.
    pub(crate) async fn get_admin(&self, path: &str) -> Answer {
        let admin = self.admin.expect("an admin listener");
        Answer::of(self.client.get(format!("http://{admin}{path}"))).await
    }

    /// Every series with its value, from wherever this service has its metrics.
    pub(crate) async fn metrics(&self) -> BTreeMap<String, f64> {
        let address = self.admin.unwrap_or(self.address);
        let answer = Answer::of(self.client.get(format!("http://{address}/metrics"))).await;
        let series = answer.text.lines().filter(|line| !line.starts_with('#'));
        series
            .map(|line| {
                let (name, value) = line.rsplit_once(' ').expect("a value");
                (name.to_owned(), value.parse().expect("a number"))
            })
            .collect()
    }

    /// The same, once it is as a test says: asked again and again until then.
    pub(crate) async fn metrics_when(
        &self,
        is_so: impl Fn(&BTreeMap<String, f64>) -> bool,
    ) -> BTreeMap<String, f64> {
        let found = async {
            loop {
                let metrics = self.metrics().await;
                if is_so(&metrics) {
                    return metrics;
                }
            }
        };
        match timeout(PATIENCE, found).await {
            Ok(metrics) => metrics,
            Err(_) => panic!("it never comes to that: {:#?}", self.metrics().await),
        }
    }

    /// The same, once nothing is under way any more, and nobody connected but who asks here.
    pub(crate) async fn at_rest(&self) -> BTreeMap<String, f64> {
        let is_zero = |metrics: &BTreeMap<String, f64>, series: &str| metrics[series] == 0.0;
        self.metrics_when(|metrics| {
            is_zero(metrics, "decoder_http_requests_in_flight")
                && is_zero(metrics, "decoder_pool_in_use{pool=\"inline\"}")
                && is_zero(metrics, "decoder_pool_in_use{pool=\"fetch\"}")
                && metrics["decoder_http_connections"] == 1.0
        })
        .await
    }

    /// The first line of the log that a test looks for, once it is written.
    pub(crate) async fn log_line(&self, is_it: impl Fn(&Value) -> bool) -> Value {
        self.log.wait_for(is_it).await
    }

    /// The `request` line of this request, once it is written.
    pub(crate) async fn request_line(&self, request_id: &str) -> Value {
        let is_it = |line: &Value| line["message"] == "request" && line["request_id"] == request_id;
        self.log_line(is_it).await
    }

    /// The `request` lines of this request, when a later request has its line.
    pub(crate) async fn request_lines(&self, request_id: &str) -> Vec<Value> {
        let later = self.get("/problems").await;
        self.request_line(later.header("x-request-id").expect("an id")).await;
        let lines = self.log_lines();
        let parsed = lines.iter().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        let is_it = |line: &Value| line["message"] == "request" && line["request_id"] == request_id;
        parsed.filter(is_it).collect()
    }

    /// The one `request` line of this request.
    pub(crate) async fn only_line(&self, request_id: &str) -> Value {
        self.request_line(request_id).await;
        let mut lines = self.request_lines(request_id).await;
        assert_eq!(lines.len(), 1, "{lines:#?}");
        lines.remove(0)
    }

    /// All lines of the log so far.
    pub(crate) fn log_lines(&self) -> Vec<String> {
        self.log.lines.lock().expect("not poisoned").clone()
    }

    /// Sends a signal, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &pid]).status();
        assert!(sent.expect("kill runs").success());
    }

    /// Waits until the process has ended; its exit code.
    pub(crate) async fn ended(&mut self) -> Option<i32> {
        let process = Arc::clone(&self.process);
        let ended = spawn_blocking(move || ends_within(PATIENCE, process)).await;
        assert!(ended.expect("no panic"), "the service did not end within {PATIENCE:?}");
        self.child.wait().expect("a child").code()
    }
}

/// Waits until a process has ended; `false` if it takes longer.
fn ends_within(patience: Duration, process: impl AsFd) -> bool {
    let patience = Timespec::try_from(patience).expect("a short time");
    let mut end = [PollFd::new(&process, PollFlags::IN)];
    retry_on_intr(|| poll(&mut end, Some(&patience))) == Ok(1)
}

/// A client that does as it is told.
pub(crate) fn client() -> reqwest::Client {
    builder().build().expect("a client")
}

/// The makings of one that speaks HTTP/2 from its first byte.
pub(crate) fn http_2() -> reqwest::ClientBuilder {
    builder().http2_prior_knowledge()
}

#[expect(clippy::disallowed_methods, reason = "it asks the service, not a source")]
fn builder() -> reqwest::ClientBuilder {
    // There is no default: a second provider in the tree would make it ambiguous.
    let provider = tokio_rustls::rustls::crypto::ring::default_provider();
    let _ = provider.install_default();
    reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none())
}

impl Drop for TestApp {
    fn drop(&mut self) {
        // Gently, so that coverage is written; then not.
        let _ = pidfd_send_signal(&self.process, Signal::TERM);
        ends_within(Duration::from_secs(1), &self.process);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Log {
    async fn wait_for(&self, is_it: impl Fn(&Value) -> bool) -> Value {
        let found = async {
            let mut seen = 0;
            loop {
                // Made before looking: a line that comes in between wakes it all the same.
                let changed = self.changed.notified();
                let new = self.lines.lock().expect("not poisoned")[seen..].to_vec();
                seen += new.len();
                let parsed = |line: &String| serde_json::from_str::<Value>(line).ok();
                if let Some(line) = new.iter().filter_map(parsed).find(|line| is_it(line)) {
                    return line;
                }
                changed.await;
            }
        };
        match timeout(PATIENCE, found).await {
            Ok(line) => line,
            Err(_) => panic!("no such line in {:#?}", self.lines.lock().expect("not poisoned")),
        }
    }
}

/// What no problem says; a source that a test makes talk says "innards".
const INDISCRETIONS: [&str; 17] = [
    "127.0.0.1",
    "10.0.0.",
    "169.254",
    "::1",
    "/tmp",
    "innards",
    "hyper",
    "reqwest",
    "rustls",
    "tokio",
    "connection refused",
    "os error",
    "incomplete",
    "unexpected",
    "peer",
    "notvalid",
    "unknownissuer",
];

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    /// Sends a request and reads its answer.
    pub(crate) async fn of(request: reqwest::RequestBuilder) -> Self {
        let answered = async {
            let response = request.send().await.expect("an answer");
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            Self { status, headers, text: response.text().await.expect("a body") }
        };
        timeout(PATIENCE, answered).await.expect("an answer in time")
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// A header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The body as the problem with this status and code.
    pub(crate) fn problem(&self, status: u16, code: &str) -> Value {
        let problem = self.json();
        assert_eq!((self.status, &problem["code"]), (status, &code.into()), "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        assert!(self.text.ends_with("}\n"), "{self:?}");
        assert_eq!(problem["status"], status);
        assert_eq!(problem["type"], format!("/problems/{code}"));
        assert_eq!(problem["request_id"].as_str(), self.header("x-request-id"));
        problem
    }

    /// The same, which says nothing that is the service's own business: no address, no
    /// words of a library or of the system, nothing of what a source sent.
    pub(crate) fn discreet_problem(&self, status: u16, code: &str) -> Value {
        let problem = self.problem(status, code);
        let text = self.text.to_ascii_lowercase();
        for word in INDISCRETIONS {
            assert!(!text.contains(word), "{word} in {self:?}");
        }
        problem
    }
}
