//! Credentials and targets as attackers write them, byte by byte: what two readers could take
//! for different things lets nobody in.

use crate::support::{
    app::TestApp,
    callers::{Key, Roster, TenantsFile},
    frames::{END_HEADERS, END_STREAM, Frames, Kind, frame, head, header},
    raw::{Raw, exchange},
};

struct Scene {
    app: TestApp,
    decoder: Key,
    viewer: Key,
    operator: Key,
    _file: TenantsFile,
}

async fn scene() -> Scene {
    let (decoder, viewer, operator) = (Key::new(), Key::new(), Key::new());
    let keys = [(&decoder, "decoder"), (&viewer, "viewer")];
    let roster = Roster::default().tenant("league", "", &keys).staff(&operator, "operator");
    let file = TenantsFile::new(&roster);
    let app = TestApp::start(&file.config()).await;
    Scene { app, decoder, viewer, operator, _file: file }
}

const DOCUMENT: &str = "{*hunter2*}";

/// A decode whose head has these lines.
fn decode(target: &str, lines: &str) -> String {
    format!(
        "POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n\
         Content-Length: {}\r\n{lines}\r\n{DOCUMENT}",
        DOCUMENT.len()
    )
}

#[tokio::test]
async fn a_credential_is_one_that_nobody_can_misread() {
    let scene = scene().await;
    let (key, viewer) = (scene.decoder.text(), scene.viewer.text());
    let bearer = format!("Authorization: Bearer {key}\r\n");
    let with = |text: &str| text.replace("KEY", key).replace("VIEWER", viewer);
    let (secret, cut) = (&key[key.len() - 43..], &key[..key.len() - 1]);
    let cases = [
        (200, bearer.clone()),
        (200, with("aUTHORIZATION:bEARER  KEY \t \r\n")),
        (200, with("x-API-key: \tKEY\r\n")),
        // Two, wherever and however they stand.
        (401, bearer.repeat(2)),
        (401, format!("Authorization: Bearer x\r\n{bearer}")),
        (401, format!("{bearer}Authorization: Bearer x\r\n")),
        (401, format!("{bearer}Authorization:\r\n")),
        (401, format!("Authorization: Basic eDp5\r\n{bearer}")),
        (401, with("Authorization: Bearer x, Bearer KEY\r\n")),
        (401, with("Authorization: Bearer KEY, Bearer x\r\n")),
        (401, with("Authorization: Bearer KEY,KEY\r\n")),
        (401, with("X-Api-Key: KEY\r\nX-Api-Key: KEY\r\n")),
        (401, format!("{bearer}X-Api-Key: {key}\r\n")),
        (401, format!("{bearer}X-Api-Key:\r\n")),
        (401, with("Authorization:\r\nX-Api-Key: KEY\r\n")),
        // Nearly one.
        (401, with("Authorization: KEY\r\n")),
        (401, with("Authorization: Bearer\tKEY\r\n")),
        (401, with("Authorization: Bearer\u{a0}KEY\r\n")),
        (401, with("Authorization: Bearer \"KEY\"\r\n")),
        (401, with("Authorization: Bearer token=KEY\r\n")),
        (401, with("Authorization: Bearer KEY=\r\n")),
        (401, with("Authorization: Bearer KEYa\r\n")),
        (401, format!("Authorization: Bearer {cut}\r\n")),
        (401, format!("Authorization: Bearer {}\r\n", key.to_uppercase())),
        (401, format!("Authorization: Bearer bpd__{secret}\r\n")),
        (401, format!("Authorization: Bearer bpd_{}_{secret}\r\n", scene.viewer.id())),
        (401, format!("Authorization: Bearer {}\r\n", "a".repeat(12_000))),
        (401, with("X-Api-Key: Bearer KEY\r\n")),
        // Somewhere else.
        (401, with("X_Api_Key: KEY\r\nProxy-Authorization: Bearer KEY\r\n")),
        (401, with("Cookie: authorization=KEY; x-api-key=KEY\r\n")),
        (401, with("X-Original-Authorization: Bearer KEY\r\nX-Forwarded-User: league\r\n")),
        // A viewer stays one.
        (403, with("Authorization: Bearer VIEWER\r\nX-Role: decoder\r\n")),
        (403, with("X-Api-Key: VIEWER\r\nX-Forwarded-User: operator\r\n")),
        // No request at all.
        (400, with("Authorization: Bearer KEY\0\r\n")),
        (400, with("Authorization : Bearer KEY\r\n")),
        (400, with("Authorization: Bearer\r\n KEY\r\n")),
        (400, with("X-A: b\r\n Authorization: Bearer KEY\r\n")),
        (400, with("X-A: b\rAuthorization: Bearer KEY\r\n")),
        (431, format!("Authorization: Bearer {}\r\n", "a".repeat(40_000))),
    ];
    for (status, lines) in cases {
        let request = decode("/decode", &format!("{lines}Connection: close\r\n"));
        let answer = exchange(scene.app.address, request).await;
        assert_eq!(answer.status, status, "{lines:?} {answer:?}");
        assert_eq!(answer.text.contains("hunter2"), status == 200, "{lines:?} {answer:?}");
    }
    for query in ["access_token", "api_key", "authorization", "x-api-key"] {
        let target = format!("/decode?{query}={key}");
        let answer = exchange(scene.app.address, decode(&target, "Connection: close\r\n")).await;
        answer.problem(401, "unauthenticated");
    }
}

#[tokio::test]
async fn a_credential_behind_the_body_is_none() {
    let scene = scene().await;
    let request = format!(
        "POST /decode HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n\
         Trailer: Authorization\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n\
         {:x}\r\n{DOCUMENT}\r\n0\r\nAuthorization: Bearer {}\r\n\r\n",
        DOCUMENT.len(),
        scene.decoder.text()
    );
    exchange(scene.app.address, request).await.problem(401, "unauthenticated");
}

#[tokio::test]
async fn no_spelling_of_a_target_gets_round_the_door() {
    let scene = scene().await;
    let (public, admin) = (scene.app.address, scene.app.admin.expect("an admin listener"));
    let bearer = |key: &Key| format!("Authorization: Bearer {}\r\n", key.text());
    // Without a credential and with one: either it is the route and wants one, or it is none.
    for (known, unknown, target) in [
        (200, 401, "/decode"),
        (200, 401, "/decode?"),
        (200, 401, "/decode#x"),
        (200, 401, "http://localhost/decode"),
        (200, 401, "HTTP://LOCALHOST:1/decode"),
        (200, 401, "https://[::1]/decode"),
        (403, 403, "http://evil.example/decode"),
        (403, 403, "http://me:pw@localhost/decode"),
        (404, 404, "//decode"),
        (404, 404, "//localhost/decode"),
        (404, 404, "/decode/"),
        (404, 404, "/decode%2f"),
        (404, 404, "/decode%00"),
        (404, 404, "/decode;a"),
        (404, 404, "/DECODE"),
        (404, 404, "/%64ecode"),
        (404, 404, "/./decode"),
        (404, 404, "/problems/../decode"),
        (404, 404, "/admin/usage"),
        (404, 404, "*"),
    ] {
        let closing = "Connection: close\r\n";
        let answer = exchange(public, decode(target, closing)).await;
        assert_eq!(answer.status, unknown, "{target} {answer:?}");
        let lines = bearer(&scene.decoder) + closing;
        let answer = exchange(public, decode(target, &lines)).await;
        assert_eq!(answer.status, known, "{target} {answer:?}");
    }
    for (of_staff, of_tenants, of_nobody, target) in [
        (200, 403, 401, "/admin/config"),
        (200, 403, 401, "/admin/config?x"),
        (200, 403, 401, "http://localhost/admin/config"),
        (403, 403, 403, "http://evil.example/admin/config"),
        (404, 404, 404, "//admin/config"),
        (404, 404, 404, "/admin//config"),
        (404, 404, 404, "/admin/config/"),
        (404, 404, 404, "/admin/./config"),
        (404, 404, 404, "/health/../admin/config"),
        (404, 404, 404, "/admin/%63onfig"),
        (404, 404, 404, "/Admin/config"),
    ] {
        let lines = [bearer(&scene.operator), bearer(&scene.decoder), String::new()];
        for (status, lines) in [of_staff, of_tenants, of_nobody].into_iter().zip(lines) {
            let request = format!(
                "GET {target} HTTP/1.1\r\nHost: localhost\r\nX-Original-URL: /health\r\n{lines}\
                 Connection: close\r\n\r\n"
            );
            let answer = exchange(admin, request).await;
            assert_eq!(answer.status, status, "{target} {lines:?} {answer:?}");
        }
    }
}

#[tokio::test]
async fn what_hides_in_a_body_is_no_request_of_whoever_sent_it() {
    let scene = scene().await;
    let bearer = format!("Authorization: Bearer {}\r\n", scene.decoder.text());
    let hidden = decode("/decode", "X-Request-Id: hidden\r\n");
    let outer = |lines: &str, body: &str| {
        format!(
            "POST /decode HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n{lines}\r\n\
             {body}{hidden}"
        )
    };
    let chunk = format!("{:x}\r\n{DOCUMENT}\r\n0\r\n\r\n", DOCUMENT.len());
    let length = DOCUMENT.len();
    for (status, request) in [
        // The body is as long as is said, and what is behind it is a request of nobody's.
        (200, outer(&format!("{bearer}Content-Length: {length}\r\n"), DOCUMENT)),
        (200, outer(&format!("{bearer}Transfer-Encoding: chunked\r\n"), &chunk)),
        (200, outer(&format!("{bearer}Content-Length: {}\r\n", length + hidden.len()), DOCUMENT)),
        // What two readers could cut in different places ends the connection.
        (
            200,
            outer(&format!("{bearer}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n"), &chunk),
        ),
        (
            400,
            outer(&format!("{bearer}Content-Length: {length}\r\nContent-Length: 0\r\n"), DOCUMENT),
        ),
        (400, outer(&format!("{bearer}Content-Length: +{length}\r\n"), DOCUMENT)),
        (400, outer(&format!("{bearer}Transfer-Encoding : chunked\r\n"), &chunk)),
        (400, outer(&format!("{bearer}Transfer-Encoding: xchunked\r\n"), &chunk)),
        // Who is refused has sent a body all the same.
        (401, outer(&format!("Content-Length: {}\r\n", length + hidden.len()), DOCUMENT)),
    ] {
        let mut client = Raw::connect(scene.app.address).await;
        let last = "GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        client.send(format!("{request}{last}")).await;
        let answers = client.rest().await;
        assert!(answers.starts_with(&format!("HTTP/1.1 {status}")), "{request} {answers}");
        let of_hidden = answers.split("HTTP/1.1 ").find(|one| one.contains("x-request-id: hidden"));
        assert!(of_hidden.is_none_or(|one| one.starts_with("401")), "{request} {answers}");
        // The document is read once at the most, and then by its owner.
        assert!(!answers.contains("hunter2") || status == 200, "{request} {answers}");
    }
}

#[tokio::test]
async fn streams_of_one_connection_inherit_nothing() {
    let scene = scene().await;
    let key = scene.decoder.text();
    let bearer = &*format!("Bearer {key}");
    let mut client = Frames::connect(scene.app.address, &[]).await;
    let cases = [
        (200, "/decode", vec![("authorization", bearer)]),
        (401, "/decode", vec![]),
        (200, "/decode", vec![("x-api-key", key)]),
        (401, "/decode", vec![("authorization", bearer), ("authorization", bearer)]),
        (401, "/decode", vec![("authorization", "Bearer x"), ("authorization", bearer)]),
        (401, "/decode", vec![("authorization", bearer), ("x-api-key", key)]),
        (401, "/decode", vec![("x-api-key", key), ("x-api-key", key)]),
        (401, "/decode", vec![("cookie", key)]),
        (403, "/decode", vec![("authorization", bearer), ("host", "a"), ("host", "b")]),
        (404, "//decode", vec![("authorization", bearer)]),
        (404, "/%64ecode", vec![("authorization", bearer)]),
        (404, "/admin/usage", vec![("authorization", bearer)]),
        (401, "/decode", vec![]),
    ];
    for (place, (status, path, more)) in cases.into_iter().enumerate() {
        let stream = place as u32 * 2 + 1;
        let mut headers = head("POST", path, &[("content-type", "text/plain")]);
        headers.extend(more.iter().flat_map(|(name, value)| header(name, value)));
        let mut request = frame(Kind::Headers, END_HEADERS, stream, headers);
        request.extend(frame(Kind::Data, END_STREAM, stream, DOCUMENT));
        client.send(request).await;
        assert_eq!(client.answer(stream).await, status, "{path} {more:?}");
        let text = client.body(stream).await;
        assert_eq!(text.contains("hunter2"), status == 200, "{path} {more:?} {text}");
    }
}
