//! `POST /decode`: a request in one of its forms, an answer in one of its forms.

mod arriving;
mod asked;
mod json;
mod lines;
mod query;
mod text;

use super::{
    Refusal,
    accept::{self, MediaType},
    authenticator::Admitted,
    body::{BodyKind, charset, declared_length},
    problem, unread,
};
use crate::{
    answer::{Form, Heading, Json, Ndjson, Output, Report, WipedBuffer},
    decode::{self, Asker, Deadline, DecodeJob, Decoder, Document, Done, Reply, Stopped, Upload},
    failure::{Code, Failure},
    identity::Action,
    overload::Permit,
    scan,
    telemetry::{AccessRecord, PoolKind},
};
use arriving::Arriving;
use asked::{Asked, HANDS_OVER, Options};
use axum::{
    body::{Body, Bytes},
    extract::{Request, State},
    http::{
        HeaderMap, HeaderValue,
        header::{CONTENT_ENCODING, CONTENT_TYPE, TRANSFER_ENCODING},
        request::Parts,
    },
    response::{IntoResponse, Response},
};
use lines::Lines;
use std::{sync::Arc, time::Duration};
use tokio::time::timeout_at;

/// What `/decode` works with.
pub struct Decoding {
    /// Runs the decodes.
    pub decoder: Decoder,
    /// What is done where a request does not say.
    pub options: scan::Options,
    /// What a request may ask for.
    pub limits: RequestLimits,
}

/// What a request may ask for.
#[derive(Debug, Clone, Copy)]
pub struct RequestLimits {
    /// The bytes of a JSON request.
    pub max_request_bytes: u64,
    /// The bytes of the URL of a document.
    pub max_url_bytes: u64,
    /// The bytes of the secrets of one answer, as JSON.
    pub max_response_bytes: u64,
    /// Secrets.
    pub max_secrets: u64,
    /// Characters of a secret.
    pub max_secret_chars: u64,
    /// How long nothing of a body may come.
    pub stall_timeout: Duration,
}

/// The forms of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AnswerForm {
    Json,
    Ndjson,
    Report,
}

const FORMS: [(MediaType, AnswerForm); 3] = [
    (("application", "json"), AnswerForm::Json),
    (("application", "x-ndjson"), AnswerForm::Ndjson),
    (("text", "plain"), AnswerForm::Report),
];

/// How many headers an answer has.
const HEADERS: usize = 8;

/// How large an answer is expected to be.
const USUAL: usize = 1024;

pub(super) async fn decode(
    State(decoding): State<Arc<Decoding>>,
    request: Request,
) -> Result<Response, Refusal> {
    let (mut parts, body) = request.into_parts();
    let record = parts.extensions.get::<Arc<AccessRecord>>().cloned();
    let deadline = parts.extensions.get::<Deadline>().copied();
    let admitted = parts.extensions.remove::<Admitted>();
    let (Some(record), Some(deadline), Some(admitted)) = (record, deadline, admitted) else {
        return Err(Failure::internal("a request without its layers").into());
    };
    let form = accept::best(&parts.headers, &FORMS)?;
    let kind = BodyKind::of(&parts.headers);
    if kind == BodyKind::Document && !admitted.principal.may(Action::HandOver) {
        let failure = Failure::new(Code::Forbidden, HANDS_OVER);
        return Ok(unread_refusal(forbidden(failure, &record), &parts, body));
    }
    let (tenant, quota_key) = (&*admitted.member.tenant, admitted.quota_key);
    let asker = Asker { tenant, quota_key, deadline: Some(deadline), trail: &record.trail };
    let entrance = Entrance { decoder: &decoding.decoder, admitted: &admitted, asker };
    let mut permit = None;
    if is_surely_handed_over(kind, &parts.headers, &decoding.limits) {
        match entrance.enter().await {
            Ok(taken) => permit = taken,
            Err(failure) => return Ok(unread_refusal(failure, &parts, body)),
        }
    }
    let read = async {
        let read = read(&decoding, &parts, kind, body, &mut permit, &entrance, &record);
        // Not only once all of it is there.
        decoding.decoder.while_served(tenant, async { Ok(read.await?) }).await.map_err(failure)
    };
    let (document, options) = match timeout_at(deadline.at.into(), read).await {
        Ok(read) => read.map_err(|failure| forbidden(failure, &record))?,
        Err(_) => return Err(deadline.passed(&record.trail).into()),
    };
    let heading = Heading {
        request_id: Some(record.head().request_id.clone()),
        source: match &document {
            Document::Source(source) => Some(source.shown()),
            _ => None,
        },
    };
    let job = DecodeJob {
        document,
        options: options.scan,
        output: options.output,
        allow_partial: options.allow_partial,
        tenant: Arc::clone(&admitted.member.tenant),
        quota_key,
        permit,
        began: record.began(),
        deadline: Some(deadline),
    };
    let answer = Answer { decoding, record, heading, job };
    match form {
        AnswerForm::Json => answer.json().await,
        AnswerForm::Ndjson => answer.ndjson().await,
        AnswerForm::Report => answer.report().await,
    }
}

/// What is refused before its body is read.
fn unread_refusal(failure: Failure, parts: &Parts, body: Body) -> Response {
    let mut response = Refusal(failure).into_response();
    unread::keep(&parts.headers, body, &mut response);
    response
}

/// Counts a failure, if it is about what someone may not.
fn forbidden(failure: Failure, record: &AccessRecord) -> Failure {
    if failure.code == Code::Forbidden {
        record.metrics().security_event("forbidden");
    }
    failure
}

/// The way to a permit for a document that is handed over.
struct Entrance<'a> {
    decoder: &'a Decoder,
    admitted: &'a Admitted,
    asker: Asker<'a>,
}

impl Entrance<'_> {
    async fn enter(&self) -> Result<Option<Permit>, Failure> {
        let entered = self.decoder.enter(PoolKind::Inline, self.asker, None);
        entered.await.map_err(failure)
    }
}

/// Whether the request has a document in it, by its head alone: its type says so, or it is
/// larger than the longest URL with all that may stand beside it. Such a one needs a permit
/// before any of it is read, so that to turn it away costs next to nothing.
fn is_surely_handed_over(kind: BodyKind, headers: &HeaderMap, limits: &RequestLimits) -> bool {
    match kind {
        BodyKind::Document => true,
        BodyKind::Json => {
            declared_length(headers).is_some_and(|said| said > limits.longest_with_source())
        }
        BodyKind::Other => false,
    }
}

/// The bytes of JSON that are not read in passing: a tenth of a millisecond, at the least.
const HEAVY: usize = 128 * 1024;

/// What a request with a `source` may have besides its URL: options, spaces and escapes.
const BESIDES_URL: u64 = 8 * 1024;

impl RequestLimits {
    /// The bytes of a JSON request that names its document.
    fn longest_with_source(&self) -> u64 {
        self.max_url_bytes + BESIDES_URL
    }
}

/// Reads the request, and the document where it is a part of it.
async fn read(
    decoding: &Decoding,
    parts: &Parts,
    kind: BodyKind,
    body: Body,
    permit: &mut Option<Permit>,
    entrance: &Entrance<'_>,
    record: &AccessRecord,
) -> Result<(Document, Options), Failure> {
    let headers = &parts.headers;
    let is_other = |name, plain: &str| {
        let mut values = headers.get_all(name).iter();
        values.any(|value| !value.as_bytes().eq_ignore_ascii_case(plain.as_bytes()))
    };
    if is_other(CONTENT_ENCODING, "identity") || is_other(TRANSFER_ENCODING, "chunked") {
        return Err(unsupported(
            "compressed bodies are not supported: send the body without Content-Encoding, and with no Transfer-Encoding except chunked",
        ));
    }
    let arriving =
        |body| Arriving::new(body, decoding.limits.stall_timeout, Arc::clone(&record.trail));
    match kind {
        BodyKind::Json => {
            let cap = decoding.limits.max_request_bytes;
            let bytes = arriving(body)
                .whole(cap, permit, decoding.limits.longest_with_source(), entrance)
                .await?;
            let query = parts.uri.query().filter(|query| !query.is_empty());
            let parse = || json::parse(&bytes, query, decoding, entrance.admitted, record);
            let Asked { document, options } = match bytes.len() {
                ..HEAVY => parse()?,
                HEAVY.. => {
                    Box::pin(decoding.decoder.heavily(entrance.admitted.quota_key, parse)).await?
                }
            };
            Ok((document, options))
        }
        BodyKind::Document => {
            let charset = charset(headers)
                .map_err(|unknown| decode::unsupported_upload(unknown.to_string()))?;
            let options =
                query::parse(parts.uri.query().unwrap_or(""), decoding, entrance.asker.tenant)?;
            Ok((Document::Upload(Upload { bytes: Box::pin(arriving(body)), charset }), options))
        }
        BodyKind::Other => Err(unsupported(
            "send application/json with source or content, or the document itself as text/plain, \
             another text type or application/octet-stream (with curl: -H 'Content-Type: \
             application/json')",
        )),
    }
}

fn unsupported(detail: &str) -> Failure {
    Failure::new(Code::UnsupportedMediaType, detail)
}

/// A decode whose answer is to be made.
struct Answer {
    decoding: Arc<Decoding>,
    record: Arc<AccessRecord>,
    heading: Heading,
    job: DecodeJob,
}

impl Answer {
    async fn json(mut self) -> Result<Response, Refusal> {
        let heading = std::mem::take(&mut self.heading);
        let mut buffer = WipedBuffer::with_capacity(USUAL);
        let mut form = Json::new(&mut buffer, heading, self.job.output, self.max_bytes());
        let permit = self.run(&mut form).await?;
        Ok(response("application/json", buffer, permit))
    }

    async fn report(self) -> Result<Response, Refusal> {
        let mut buffer = WipedBuffer::with_capacity(USUAL);
        let name = self.heading.source.clone();
        let name = name.unwrap_or_else(|| "the document handed over".to_owned());
        let several = self.job.options.pairs.iter().len() > 1;
        let form = Report::new(&mut buffer, self.job.output, &name, several, self.max_bytes());
        let mut form = form.map_err(|error| Failure::internal(error.to_string()))?;
        let permit = self.run(&mut form).await?;
        Ok(response("text/plain; charset=utf-8", buffer, permit))
    }

    /// Each line leaves as soon as it is there. What fails before the first one is an
    /// ordinary problem.
    async fn ndjson(self) -> Result<Response, Refusal> {
        let lines = Lines::default();
        let taken = lines.clone();
        let run = async move {
            let Self { decoding, record, heading, job } = self;
            let (output, max_bytes) = (job.output, Some(decoding.limits.max_response_bytes));
            let mut form = Ndjson::new(taken.clone(), heading, output, max_bytes);
            let reply = Reply { form: &mut form, is_taken: &|waker| taken.are_taken(waker) };
            let (decoder, tenant) = (&decoding.decoder, Arc::clone(&job.tenant));
            // However slowly it is read.
            let done = decoder.while_served(&tenant, decoder.decode(job, reply, &record.trail));
            let done = Box::pin(done).await;
            let failure = match done {
                Ok(Done { permit, .. }) => return Ok(permit),
                Err(stopped) => failure(stopped),
            };
            if taken.keep_back() {
                return Err(Box::new(failure));
            }
            // The status has left; the last line says what happened.
            let written = form.fail(&problem::problem(&failure, &record));
            record.failed(failure);
            drop(written);
            Ok(None)
        };
        let body = lines.body(run).await.map_err(|failure| Refusal(*failure))?;
        let mut response = Response::new(Body::new(body));
        let kind = HeaderValue::from_static("application/x-ndjson");
        response.headers_mut().insert(CONTENT_TYPE, kind);
        Ok(response)
    }

    fn max_bytes(&self) -> Option<u64> {
        Some(self.decoding.limits.max_response_bytes)
    }

    async fn run(self, form: &mut (dyn Form + Send)) -> Result<Option<Permit>, Refusal> {
        let reply = Reply { form, is_taken: &|_| true };
        let done = self.decoding.decoder.decode(self.job, reply, &self.record.trail).await;
        done.map(|Done { permit, .. }| permit).map_err(|stopped| {
            // Nothing of it is answered.
            self.record.trail.steps().secrets = 0;
            Refusal(failure(stopped))
        })
    }
}

fn failure(stopped: Stopped) -> Failure {
    match stopped {
        Stopped::Failed(failure) => *failure,
        Stopped::Unwritten(error) => Failure::internal(error.to_string()),
    }
}

/// A whole answer, and the permit that it takes until its last byte has left. Then it is
/// wiped.
struct Whole {
    buffer: WipedBuffer,
    _place: Option<Permit>,
}

impl AsRef<[u8]> for Whole {
    fn as_ref(&self) -> &[u8] {
        self.buffer.as_ref()
    }
}

fn response(kind: &'static str, buffer: WipedBuffer, permit: Option<Permit>) -> Response {
    let whole = Whole { buffer, _place: permit };
    let mut response = Response::new(Body::from(Bytes::from_owner(whole)));
    // For those of the layers, too.
    response.headers_mut().reserve(HEADERS);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// What an option may be called.
fn output(name: &str) -> Option<Output> {
    match name {
        "full" => Some(Output::Full),
        "masked" => Some(Output::Masked),
        "summary" => Some(Output::Summary),
        _ => None,
    }
}
