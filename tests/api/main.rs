//! The service as its callers meet it: real sockets, never the internet.

#![allow(clippy::expect_used)]

// Forms of answers, and what each may show.
mod answers;
// What a client can say wrong in a request.
mod bad_input;
// Where a scan ends, and what it may cost.
mod bounds;
// What the command line fetches.
mod command_line;
// In a network of its own.
#[cfg(feature = "real-tools")]
mod confined;
// Credentials and targets as attackers write them.
mod credentials;
// The forms in which a document is named or handed over.
mod decode;
// Sources that the policy does not allow.
mod denied;
// Answers over HTTP/2 that come before the request body is complete.
mod early_answers;
// Why a URL may be fetched or not.
mod explain;
// One tenant that asks for everything, and another one.
mod fairness;
// What a source can answer, and what it comes to.
mod fetching;
// Fetches that end early, and connections to sources.
mod giving_up;
// Clients of HTTP/1 that say nothing, drip, do not read, or tear the connection.
mod hostile;
// More clients than there is room for.
mod hostile_crowd;
// Requests of HTTP/1 that two readers could take for different ones, or that are too large.
mod hostile_framing;
// Clients of HTTP/2 that flood, or break the rules.
mod hostile_http_2;
// Sources that mean harm.
mod hostile_sources;
// Streams of HTTP/2 that are left, or whose answer is not read.
mod hostile_streams;
// What is secret stays out of everything that is kept or told.
mod hygiene;
// Answers before the request body is complete, with curl, httpx, Node and nghttp.
#[cfg(feature = "real-tools")]
mod http_2_clients;
// Sources that speak HTTP/2.
mod http_2_sources;
// Tenants beside each other.
mod isolation;
// Keys: who has one, and who is told nothing.
mod keys;
// What is left of connections and requests that are over: nothing.
mod leftovers;
// The level of the log, changed by an operator for a while.
mod log_level;
// Name servers, honest and otherwise.
mod names;
// More decodes than there are places for.
mod overload;
// What the service tells of itself.
mod pages;
// What a bug does to a request.
mod panics;
// How often one may call, and who is who behind proxies.
mod rate_limit;
// What the README shows, done with the program that it names.
#[cfg(feature = "real-tools")]
mod readme;
// Where sources redirect to.
mod redirects;
// Beside Prometheus' own tool.
#[cfg(feature = "real-tools")]
mod real_tools;
// One line for each request.
mod request_lines;
// Sources that fail, again and again.
mod retries;
// Limits that replicas share, and what happens when what counts them is gone.
#[cfg(feature = "real-tools")]
mod shared_limits;
// Who may do what: one table.
mod roles;
// A roster that changes while its tenants call.
mod roster_changes;
// How the service ends.
mod shutdown;
// A signal at the worst of moments.
#[cfg(feature = "real-tools")]
mod signals;
// Beside a thousand slow connections.
#[cfg(feature = "real-tools")]
mod slow;
// Answers as reviewed, word by word.
mod snapshots;
// What a supervisor is told.
mod supervised;
// What the tests stand on: the service as a process, sources to be fetched from.
mod support;
// Kill switches: for a tenant, and for a host that documents come from.
mod switches;
// Name servers that the system asks, in a network of their own.
#[cfg(feature = "real-tools")]
mod system_names;
// What the tenants file says, and says anew.
mod tenants;
// What the metrics say, and that it is what happened.
mod telemetry;
// Tokens: who is let in with one, and who is told nothing.
mod tokens;
// Issuers that cannot be had, or have nothing of use.
mod tokens_in_outages;
// Issuers that have other keys than before.
mod tokens_of_new_keys;
// The upstream itself, asked by a client that shows every byte.
mod upstream_itself;
// Whatever viewers ask, they learn no text of a document.
mod viewer;
// What a client can do wrong with HTTP itself.
mod wire;
