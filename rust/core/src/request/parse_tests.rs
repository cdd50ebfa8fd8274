//! Tables of request lines and their results.

use super::parse::parse;
use super::{MAX_TAGS, MAX_UPLOAD_ID_LENGTH, Request, upload_path};
use crate::error::Error;
use crate::kind::Kind;

const D: &str = "sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";

/// Parse `method path[?query]`, with `{d}` for a digest.
fn line(text: &str) -> Result<Request, Error> {
    let text = text.replace("{d}", D);
    let (method, url) = text.split_once(' ').expect("method and URL");
    let (path, query) = url.split_once('?').unwrap_or((url, ""));
    parse(method, path.as_bytes(), query.as_bytes(), b"")
}

/// The fields that are set, as `name=value`.
fn show(request: &Request) -> String {
    let mut text = request.kind.name().to_owned();
    let mut push = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            text += &format!(" {name}={value}").replace(D, "{d}");
        }
    };
    push("repository", request.repository.as_ref().map(ToString::to_string));
    push("digest", request.digest.as_ref().map(ToString::to_string));
    push("tag", request.tag.as_ref().map(ToString::to_string));
    for tag in &request.tags {
        push("tags", Some(tag.to_string()));
    }
    push("from", request.from_repository.as_ref().map(ToString::to_string));
    push("id", request.upload_id.as_ref().map(ToString::to_string));
    push("algorithm", request.digest_algorithm.map(|algorithm| algorithm.to_string()));
    push("n", request.n.map(|n| n.to_string()));
    push("last", request.last.as_ref().map(ToString::to_string));
    push("type", request.artifact_type.as_ref().map(ToString::to_string));
    push("ns", request.namespace.as_ref().map(ToString::to_string));
    text
}

/// The result of a request line: `kind fields`, or the text of the error.
fn result(text: &str) -> String {
    match line(text) {
        Ok(request) => {
            assert_eq!(request.check(), Ok(()), "{text}");
            let (method, url) = request.build();
            assert_eq!(line(&format!("{method} {url}")).as_ref(), Ok(&request), "{text} through {url}");
            show(&request)
        }
        Err(Error::MethodNotAllowed(methods)) => {
            format!("405 {}", methods.iter().map(|(method, _)| *method).collect::<Vec<_>>().join(", "))
        }
        Err(error) => error.to_string(),
    }
}

fn table(rows: &[(&str, &str)]) {
    for (text, want) in rows {
        assert_eq!(result(text), *want, "{text}");
    }
}

#[test]
fn every_endpoint() {
    table(&[
        ("GET /v2/", "ping"),
        ("GET /v2", "ping"),
        ("GET /v2/foo/bar/blobs/{d}", "blob_get repository=foo/bar digest={d}"),
        ("HEAD /v2/foo/blobs/{d}", "blob_head repository=foo digest={d}"),
        ("DELETE /v2/foo/blobs/{d}", "blob_delete repository=foo digest={d}"),
        ("POST /v2/foo/blobs/uploads/", "upload_start repository=foo"),
        ("POST /v2/foo/blobs/uploads", "upload_start repository=foo"),
        ("POST /v2/foo/blobs/uploads/?digest={d}", "upload_blob repository=foo digest={d}"),
        ("POST /v2/foo/blobs/uploads/?mount={d}&from=a/b", "blob_mount repository=foo digest={d} from=a/b"),
        ("GET /v2/foo/blobs/uploads/eHh4", "upload_info repository=foo id=xxx"),
        ("PATCH /v2/foo/blobs/uploads/eHh4", "upload_chunk repository=foo id=xxx"),
        ("PUT /v2/foo/blobs/uploads/eHh4?digest={d}", "upload_complete repository=foo digest={d} id=xxx"),
        ("DELETE /v2/foo/blobs/uploads/eHh4", "upload_cancel repository=foo id=xxx"),
        ("GET /v2/foo/manifests/latest", "manifest_get repository=foo tag=latest"),
        ("GET /v2/foo/manifests/{d}", "manifest_get repository=foo digest={d}"),
        ("HEAD /v2/foo/manifests/latest", "manifest_head repository=foo tag=latest"),
        ("PUT /v2/foo/manifests/{d}?tag=a&tag=b", "manifest_put repository=foo digest={d} tags=a tags=b"),
        ("DELETE /v2/foo/manifests/latest", "manifest_delete repository=foo tag=latest"),
        ("GET /v2/foo/tags/list", "tags_list repository=foo"),
        ("GET /v2/foo/tags/list?n=5&last=x", "tags_list repository=foo n=5 last=x"),
        ("GET /v2/foo/referrers/{d}", "referrers_list repository=foo digest={d}"),
        (
            "GET /v2/foo/referrers/{d}?artifactType=a/b&last=c",
            "referrers_list repository=foo digest={d} last=c type=a/b",
        ),
        // No media type has a space.
        ("GET /v2/foo/referrers/{d}?artifactType=a/b+json", "referrers_list repository=foo digest={d} type=a/b+json"),
        ("GET /v2/_catalog", "catalog_list"),
        ("GET /v2/_catalog?n=5&last=a/b", "catalog_list n=5 last=a/b"),
    ]);
}

/// P1 and P2.
#[test]
fn the_query_comes_first() {
    let escape = "invalid query parameters: invalid URL escape \"%zz\"";
    let semicolon = "invalid query parameters: invalid semicolon separator in query";
    table(&[
        ("GET /v2/?a=%zz", escape),
        ("GET /nowhere?%zz", escape),
        ("BAR /v2/FOO/tags/list?a=%zz", escape),
        ("GET /v2/?a;b", semicolon),
        ("GET /v2/%zz?a;b", semicolon),
        ("GET /v2/foo/tags/list?n=1&n=2&x=3", "tags_list repository=foo n=1"),
        ("GET /v2/foo/tags/list?n=&n=2", "tags_list repository=foo"),
        ("GET /v2/foo/tags/list?last=a+b%2Bc", "tags_list repository=foo last=a b+c"),
        ("GET /v2/foo/tags/list?last=%FF", "tags_list repository=foo last=\u{fffd}"),
    ]);
}

/// P3 and P4.
#[test]
fn the_path_is_decoded_once() {
    table(&[
        ("GET /v2/foo%2Fbar/tags/list", "tags_list repository=foo/bar"),
        ("GET /v2%2F_catalog", "catalog_list"),
        ("GET /v2/foo%252Fbar/tags/list", "invalid repository name"),
        ("GET /v2/fo+o/tags/list", "invalid repository name"),
        ("GET /v2/foo/manifests/a%2Db", "manifest_get repository=foo tag=a-b"),
        ("GET /v2/%zz/tags/list", "invalid URL escape \"%zz\""),
        ("GET /v2/foo/tags/list%", "invalid URL escape \"%\""),
        ("POST /v2/", "ping"),
        ("BAR /v2", "ping"),
        ("GET /v2/?ns=docker.io", "ping ns=docker.io"),
    ]);
    let encoded = format!("GET /v2/foo/blobs/{}", D.replace(':', "%3A"));
    assert_eq!(result(&encoded), "blob_get repository=foo digest={d}");
}

/// P5, P6 and P8.
#[test]
fn other_paths() {
    for path in ["/", "", "/v1/", "//v2/", "/v2x", "/V2/", "v2/"] {
        assert_eq!(result(&format!("GET {path}")), "unknown URL path", "{path}");
    }
    for path in [
        "/v2/bad",
        "/v2//",
        "/v2/foo/bar",
        "/v2/foo/unknown/x",
        "/v2/blobs/{d}",
        "/v2/blobs/uploads/",
        "/v2/blobs/uploads",
        "/v2/tags/list",
        "/v2/foo/tags/list/",
        "/v2/foo/tags/other",
        "/v2/_catalog/",
        "/v2/foo/blobs/uploads/eHh4/",
        "/v2/foo/uploads/eHh4",
        "/v2/foo/manifests/",
        "/v2/foo/manifests/.x",
        "/v2/foo/manifests/caf%C3%A9",
        "/v2/foo/manifests/latest%0A",
        "/v2/foo/manifests/%FF",
    ] {
        assert_eq!(result(&format!("GET {path}")), "page not found", "{path}");
        // Nothing is there, so the method does not matter.
        assert_eq!(result(&format!("BAR {path}")), "page not found", "{path}");
    }
    for path in ["/v2/foo/blobs/", "/v2/foo/referrers/", "/v2/foo/referrers/latest", "/v2/foo/blobs/sha256:x"] {
        assert_eq!(result(&format!("GET {path}")), "badly formed digest", "{path}");
    }
    for path in
        ["/v2//tags/list", "/v2/foo//tags/list", "/v2//blobs/uploads/", "/v2/foo%0A/tags/list", "/v2/%FF/tags/list"]
    {
        let method = if path.ends_with("uploads/") { "POST" } else { "GET" };
        assert_eq!(result(&format!("{method} {path}")), "invalid repository name", "{path}");
    }
}

/// P7.
#[test]
fn methods() {
    table(&[
        ("POST /v2/foo/blobs/{d}", "405 GET, HEAD, DELETE"),
        ("GET /v2/foo/blobs/uploads/", "405 POST"),
        ("POST /v2/foo/blobs/uploads/eHh4", "405 GET, PATCH, PUT, DELETE"),
        ("BAR /v2/foo/manifests/latest", "405 GET, HEAD, PUT, DELETE"),
        ("HEAD /v2/foo/tags/list", "405 GET"),
        ("HEAD /v2/foo/referrers/{d}", "405 GET"),
        ("HEAD /v2/_catalog", "405 GET"),
        ("get /v2/_catalog", "405 GET"),
    ]);
}

/// N2, N4, N5.
#[test]
fn names() {
    let long = "a".repeat(255);
    assert_eq!(result(&format!("GET /v2/{long}/tags/list")), format!("tags_list repository={long}"));
    assert_eq!(result(&format!("GET /v2/{long}a/tags/list")), "invalid repository name: longer than 255 characters");
    let tag = "a".repeat(128);
    assert_eq!(result(&format!("GET /v2/foo/manifests/{tag}")), format!("manifest_get repository=foo tag={tag}"));
    assert_eq!(result(&format!("GET /v2/foo/manifests/{tag}a")), "page not found");
    table(&[
        ("PUT /v2/foo/manifests/sha256:baddigeststring", "badly formed digest"),
        ("GET /v2/foo/manifests/:", "badly formed digest"),
        ("GET /v2/foo/manifests/a%3Ab", "badly formed digest"),
        ("GET /v2/foo/blobs/md5:d41d8cd98f00b204e9800998ecf8427e", "badly formed digest"),
    ]);
}

/// 1.3: if two checks fail, the first one decides the response.
#[test]
fn order_of_checks() {
    table(&[
        ("BAR /v2/FOO/blobs/bad", "badly formed digest"),
        ("BAR /v2/FOO/blobs/{d}", "invalid repository name"),
        ("BAR /v2/foo/blobs/{d}", "405 GET, HEAD, DELETE"),
        ("BAR /v2/FOO/blobs/uploads/?mount=bad", "invalid repository name"),
        ("BAR /v2/foo/blobs/uploads/?mount=bad", "405 POST"),
        ("POST /v2/foo/blobs/uploads/?mount=bad&from=BAD", "badly formed digest"),
        ("POST /v2/foo/blobs/uploads/?mount={d}&from=BAD", "invalid repository name"),
        ("BAR /v2/FOO/blobs/uploads/=", "invalid repository name"),
        ("BAR /v2/foo/blobs/uploads/=", "invalid upload ID \"=\" (cannot decode)"),
        ("BAR /v2/foo/blobs/uploads/eHh4", "405 GET, PATCH, PUT, DELETE"),
        ("BAR /v2/FOO/manifests/:", "invalid repository name"),
        ("BAR /v2/foo/manifests/:", "badly formed digest"),
        ("BAR /v2/foo/manifests/latest?tag=:", "405 GET, HEAD, PUT, DELETE"),
        ("BAR /v2/FOO/tags/other?n=x", "page not found"),
        ("BAR /v2/FOO/tags/list?n=x", "query parameter n is not a valid integer"),
        ("BAR /v2/FOO/tags/list", "405 GET"),
        ("GET /v2/FOO/tags/list", "invalid repository name"),
        ("BAR /v2/FOO/referrers/bad", "badly formed digest"),
        ("BAR /v2/FOO/referrers/{d}", "405 GET"),
        ("GET /v2/FOO/referrers/{d}", "invalid repository name"),
        ("BAR /v2/_catalog?n=x", "405 GET"),
        ("GET /v2/_catalog?n=x", "query parameter n is not a valid integer"),
    ]);
}

/// 1.3: what a POST means; L3, L4.
#[test]
fn starting_an_upload() {
    table(&[
        ("POST /v2/foo/blobs/uploads/?mount={d}", "blob_mount repository=foo digest={d}"),
        ("POST /v2/foo/blobs/uploads/?mount={d}&from=", "blob_mount repository=foo digest={d}"),
        ("POST /v2/foo/blobs/uploads/?mount={d}&digest=bad", "blob_mount repository=foo digest={d}"),
        ("POST /v2/foo/blobs/uploads/?mount=&digest={d}", "upload_blob repository=foo digest={d}"),
        ("POST /v2/foo/blobs/uploads/?mount=&digest=", "upload_start repository=foo"),
        ("POST /v2/foo/blobs/uploads/?from=BAD", "upload_start repository=foo"),
        ("POST /v2/foo/blobs/uploads/?digest=bad", "badly formed digest"),
        ("POST /v2/foo/blobs/uploads/?digest-algorithm=sha512", "upload_start repository=foo algorithm=sha512"),
        ("POST /v2/foo/blobs/uploads/?digest-algorithm=", "upload_start repository=foo"),
        (
            "POST /v2/foo/blobs/uploads/?digest-algorithm=md5",
            "unknown digest algorithm \"md5\": it is not one of sha256, sha384, sha512",
        ),
        // Only an upload start reads this parameter.
        ("POST /v2/foo/blobs/uploads/?digest={d}&digest-algorithm=md5", "upload_blob repository=foo digest={d}"),
        ("POST /v2/foo/blobs/uploads/?mount={d}&digest-algorithm=md5", "blob_mount repository=foo digest={d}"),
    ]);
}

/// E1 and E2.
#[test]
fn upload_ids() {
    table(&[
        ("GET /v2/foo/blobs/uploads/eHh4?digest=bad", "upload_info repository=foo id=xxx"),
        ("PUT /v2/foo/blobs/uploads/eHh4", "badly formed digest"),
        ("PUT /v2/foo/blobs/uploads/eHh4?digest=", "badly formed digest"),
        ("PUT /v2/foo/blobs/uploads/eHh4?_state=1&digest={d}", "upload_complete repository=foo digest={d} id=xxx"),
        ("GET /v2/foo/blobs/uploads/eHh4eA==", "invalid upload ID \"eHh4eA==\" (cannot decode)"),
        ("GET /v2/foo/blobs/uploads/a", "invalid upload ID \"a\" (cannot decode)"),
        ("GET /v2/foo/blobs/uploads/a+b_", "invalid upload ID \"a+b_\" (cannot decode)"),
        ("GET /v2/foo/blobs/uploads/eH%0Ah4", "invalid upload ID \"eH\\nh4\" (cannot decode)"),
        // Two spellings of one id would be two keys to one upload.
        ("GET /v2/foo/blobs/uploads/eB", "invalid upload ID \"eB\" (cannot decode)"),
        ("GET /v2/foo/blobs/uploads/_w", "upload ID \"_w\" decoded to invalid utf8"),
    ]);
    for id in ["x", "é/?&=;%\u{0}\n", "https://example.com/v2/x/blobs/uploads/1?_state=a%2Fb&x=y#z"] {
        let request = line(&format!("PATCH {}", upload_path("foo", id))).expect(id);
        assert_eq!(request.upload_id.as_deref(), Some(id));
    }
}

#[test]
fn upload_ids_are_bounded() {
    let longest = "x".repeat(MAX_UPLOAD_ID_LENGTH);
    assert!(line(&format!("GET {}", upload_path("foo", &longest))).is_ok());
    for length in [MAX_UPLOAD_ID_LENGTH + 1, MAX_UPLOAD_ID_LENGTH + 2, MAX_UPLOAD_ID_LENGTH + 3, 100_000] {
        let error = line(&format!("GET {}", upload_path("foo", &"x".repeat(length)))).expect_err("too long");
        assert_eq!(error.to_string(), "invalid upload ID: longer than 4096 bytes");
    }
}

/// L1 and N7.
#[test]
fn page_sizes() {
    for (n, want) in [("0", 0), ("5", 5), ("%2B5", 5), ("007", 7), ("-0", 0), ("9223372036854775807", i64::MAX as u64)]
    {
        for path in ["/v2/foo/tags/list", "/v2/_catalog"] {
            assert_eq!(line(&format!("GET {path}?n={n}")).map(|request| request.n), Ok(Some(want)), "{n}");
        }
    }
    for n in ["x", "1_0", "+5", "5+", "1.5", "1e3", "0x5", "%2B", "-", "--1", "9223372036854775808", "%D9%A3", "%FF"] {
        for path in ["/v2/foo/tags/list", "/v2/_catalog"] {
            assert_eq!(result(&format!("GET {path}?n={n}")), "query parameter n is not a valid integer", "{n}");
        }
    }
    assert_eq!(result("GET /v2/_catalog?n=-1"), "query parameter n must not be negative");
    // Referrers have no n.
    assert_eq!(result("GET /v2/foo/referrers/{d}?n=x"), "referrers_list repository=foo digest={d}");
}

/// L4: end-7b.
#[test]
fn tag_parameters() {
    table(&[
        ("PUT /v2/foo/manifests/latest?tag=a", "manifest_put repository=foo tag=latest tags=a"),
        ("PUT /v2/foo/manifests/{d}?tag=b&x=1&tag=a&tag=b", "manifest_put repository=foo digest={d} tags=b tags=a"),
        ("PUT /v2/foo/manifests/{d}?tag=a%2Fb", "invalid tag \"a/b\""),
        ("PUT /v2/foo/manifests/{d}?tag=", "invalid tag \"\""),
        ("GET /v2/foo/manifests/{d}?tag=a%2Fb", "manifest_get repository=foo digest={d}"),
    ]);
    let tags = |count: usize| (0..count).map(|i| format!("tag=t{i}")).collect::<Vec<_>>().join("&");
    let request = line(&format!("PUT /v2/foo/manifests/{{d}}?{}", tags(MAX_TAGS))).expect("allowed");
    assert_eq!(request.tags.len(), MAX_TAGS);
    assert_eq!(
        result(&format!("PUT /v2/foo/manifests/{{d}}?{}", tags(MAX_TAGS + 1))),
        "too many tag parameters: at most 100 are accepted"
    );
    // A message does not repeat a whole URL.
    let long = result(&format!("PUT /v2/foo/manifests/{{d}}?tag={}", "%1b".repeat(1000)));
    assert_eq!(long, format!("invalid tag \"{}…\"", "\\x1b".repeat(64)));
}

#[test]
fn root_paths() {
    let kind = |path: &str, root: &str| {
        parse("GET", path.as_bytes(), b"", root.as_bytes())
            .map(|request| request.kind)
            .map_err(|error| error.to_string())
    };
    let unknown = Err("unknown URL path".to_owned());
    for (path, root, want) in [
        ("/reg/v2/", "/reg", Ok(Kind::Ping)),
        ("/reg/v2/_catalog", "/reg", Ok(Kind::CatalogList)),
        ("/reg/v2/_catalog", "/reg/", Ok(Kind::CatalogList)),
        ("/a/b/v2", "/a/b", Ok(Kind::Ping)),
        ("/a%2Fb/v2", "/a/b", Ok(Kind::Ping)),
        ("/r%c3%a9g/v2", "/r\u{e9}g", Ok(Kind::Ping)),
        ("/rég/v2", "/r%C3%A9g", Ok(Kind::Ping)),
        ("/100%25/v2", "/100%", Ok(Kind::Ping)),
        // Some servers have taken it off already.
        ("/v2/", "/reg", Ok(Kind::Ping)),
        ("/v2/", "/", Ok(Kind::Ping)),
        // Half an element is none.
        ("/v2/", "/v", Ok(Kind::Ping)),
        ("/v2/v2/", "/v2", Ok(Kind::Ping)),
        ("/reg", "/reg", unknown.clone()),
        ("/registry/v2/", "/reg", unknown.clone()),
        ("/v2", "/v2", unknown),
    ] {
        assert_eq!(kind(path, root), want, "{path} below {root}");
    }
}
