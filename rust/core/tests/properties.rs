//! Properties of any input: round trips, and that nothing panics.

use std::borrow::Cow;

use ociserver_core::digest::{Algorithm, Digest};
use ociserver_core::hash::{Hasher, digest_of};
use ociserver_core::kind::Kind;
use ociserver_core::link::next_link;
use ociserver_core::manifest::{self, Strictness};
use ociserver_core::name::{Repository, Tag};
use ociserver_core::percent::{Plus, decode, encode_into};
use ociserver_core::range::{parse_content_range, parse_range};
use ociserver_core::reference::{Reference, is_host};
use ociserver_core::request::{MAX_TAGS, Request, parse};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

fn repository() -> impl Strategy<Value = Repository> {
    "[a-z0-9]{1,3}((\\.|_|__|-{1,3})[a-z0-9]{1,3}){0,2}(/[a-z0-9]{1,7}((\\.|_|__|-)(blobs|uploads|v2|list)){0,1}){0,3}"
        .prop_map(|text| text.parse().expect("the grammar"))
}

fn tag() -> impl Strategy<Value = Tag> {
    "[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}".prop_map(|text| text.parse().expect("the grammar"))
}

fn algorithm() -> impl Strategy<Value = Algorithm> {
    select(Algorithm::ALL.as_slice())
}

fn digest() -> impl Strategy<Value = Digest> {
    (algorithm(), any::<[u8; 4]>()).prop_map(|(algorithm, data)| digest_of(algorithm, &data))
}

/// Any text that is not empty, often with characters that need escapes.
fn text() -> impl Strategy<Value = Box<str>> {
    prop_oneof!["\\PC{1,20}", "[-%&+;=?#/ \\x00-\\x20é]{1,20}"].prop_map(Into::into)
}

prop_compose! {
    /// Any request that `check` accepts.
    fn request()(
        kind in select(Kind::ALL.as_slice()),
        (repository, from_repository) in (repository(), option::of(repository())),
        (digest, algorithm) in (digest(), option::of(algorithm())),
        (tag, by_tag, mut tags) in (tag(), any::<bool>(), vec(tag(), 0..MAX_TAGS.min(9))),
        (n, last) in (option::of(0..=i64::MAX as u64), option::of(text())),
        (upload_id, artifact_type, namespace) in (text(), option::of(text()), option::of(text())),
    ) -> Request {
        let mut request = Request::new(kind);
        request.namespace = namespace;
        if !matches!(kind, Kind::Ping | Kind::CatalogList) {
            request.repository = Some(repository);
        }
        match kind {
            Kind::Ping => {}
            Kind::BlobGet | Kind::BlobHead | Kind::BlobDelete | Kind::UploadBlob => request.digest = Some(digest),
            Kind::UploadStart => request.digest_algorithm = algorithm,
            Kind::BlobMount => (request.digest, request.from_repository) = (Some(digest), from_repository),
            Kind::UploadInfo | Kind::UploadChunk | Kind::UploadCancel => request.upload_id = Some(upload_id),
            Kind::UploadComplete => (request.upload_id, request.digest) = (Some(upload_id), Some(digest)),
            Kind::ManifestGet | Kind::ManifestHead | Kind::ManifestPut | Kind::ManifestDelete => {
                if by_tag {
                    request.tag = Some(tag);
                } else {
                    request.digest = Some(digest);
                }
                if kind == Kind::ManifestPut {
                    tags.sort();
                    tags.dedup();
                    request.tags = tags;
                }
            }
            Kind::TagsList | Kind::CatalogList => (request.n, request.last) = (n, last),
            Kind::ReferrersList => {
                (request.digest, request.artifact_type, request.last) = (Some(digest), artifact_type, last);
            }
        }
        request
    }
}

fn parse_url(method: &str, url: &str, root_path: &str) -> ociserver_core::Result<Request> {
    let (path, query) = url.split_once('?').unwrap_or((url, ""));
    parse(method, path.as_bytes(), query.as_bytes(), root_path.as_bytes())
}

proptest! {
    #[test]
    fn parsing_undoes_building(request in request()) {
        prop_assert_eq!(request.check(), Ok(()));
        let (method, url) = request.build();
        prop_assert!(url.bytes().all(|byte| byte.is_ascii_graphic()), "{}", url);
        prop_assert_eq!(parse_url(method, &url, ""), Ok(request.clone()));
        prop_assert_eq!(parse_url(method, &format!("/a/b{url}"), "/a/b"), Ok(request));
    }

    #[test]
    fn any_request_line_is_parsed_or_refused(
        method in "\\PC{0,5}|GET|PUT|POST",
        path in vec(any::<u8>(), 0..60),
        query in vec(any::<u8>(), 0..60),
        root in vec(any::<u8>(), 0..5),
    ) {
        if let Ok(request) = parse(&method, &[b"/v2/", &path[..]].concat(), &query, &root) {
            prop_assert_eq!(request.check(), Ok(()));
        }
        let _ = parse(&method, &path, &query, &root);
    }

    #[test]
    fn any_header_is_parsed_or_refused(header in vec(any::<u8>(), 0..40), digits in "bytes ?= ?[-0-9, ]{0,40}") {
        for header in [&header[..], digits.as_bytes()] {
            for range in parse_range(header).ok().flatten().unwrap_or_default() {
                for size in [0, 1, 100, u64::MAX] {
                    if let Some(found) = range.resolve(size) {
                        prop_assert!(found.start < found.end && found.end <= size);
                    }
                }
            }
            if let Ok((start, end)) = parse_content_range(header) {
                prop_assert!(start <= end + 1);
            }
        }
    }

    #[test]
    fn a_hash_goes_on_where_it_was_saved(
        algorithm in algorithm(),
        chunks in vec(vec(any::<u8>(), 0..300), 0..6),
    ) {
        let mut hasher = Hasher::new(algorithm);
        for chunk in &chunks {
            hasher.update(chunk);
            hasher = Hasher::resume(&hasher.save()).expect("a saved state");
        }
        prop_assert_eq!(hasher.digest(), digest_of(algorithm, &chunks.concat()));
    }

    #[test]
    fn any_state_is_refused_or_usable(mut state in vec(any::<u8>(), 0..200), length in 0..300_u64) {
        let _ = Hasher::resume(&state).map(|hasher| hasher.digest());
        if state.len() >= 10 {
            (state[0], state[1]) = (1, state[1] % 3);
            state[2..10].copy_from_slice(&length.to_le_bytes());
            let _ = Hasher::resume(&state).map(|hasher| hasher.digest());
        }
    }

    #[test]
    fn decoding_undoes_encoding(bytes in vec(any::<u8>(), 0..60)) {
        let mut encoded = String::new();
        encode_into(&mut encoded, &bytes);
        for plus in [Plus::Literal, Plus::Space] {
            let decoded = decode(encoded.as_bytes(), plus).map(Cow::into_owned);
            prop_assert_eq!(decoded.as_ref(), Ok(&bytes));
        }
    }

    #[test]
    fn the_next_page_starts_after_the_last(n in 0..100_u64, last in text(), old in option::of(text())) {
        let mut request = Request::new(Kind::CatalogList);
        (request.n, request.last) = (Some(n), old);
        let (_, url) = request.build();
        let (path, query) = url.split_once('?').expect("it has n");
        let link = next_link(path.as_bytes(), query.as_bytes(), &last);
        let next = link.strip_prefix('<').and_then(|link| link.strip_suffix(">;rel=\"next\"")).expect("a link");
        request.last = Some(last);
        prop_assert_eq!(parse_url("GET", next, ""), Ok(request));
    }

    #[test]
    fn a_link_is_one_header(path in vec(any::<u8>(), 0..40), query in vec(any::<u8>(), 0..40), last in "\\PC{0,9}") {
        let link = next_link(&path, &query, &last);
        prop_assert!(link.bytes().all(|byte| byte.is_ascii_graphic()), "{}", link);
        prop_assert_eq!(link.find('>'), Some(link.len() - ">;rel=\"next\"".len()));
    }

    #[test]
    fn references_are_put_together_again(
        host in "([a-z]{1,5}\\.com|localhost:1|\\[::1\\]|)",
        repository in repository(),
        tag in option::of(tag()),
        digest in option::of(digest()),
    ) {
        let before = if host.is_empty() { String::new() } else { format!("{host}/") };
        let tagged = tag.as_ref().map_or(String::new(), |tag| format!(":{tag}"));
        let pinned = digest.as_ref().map_or(String::new(), |digest| format!("@{digest}"));
        let text = format!("{before}{repository}{tagged}{pinned}");
        let reference = Reference::parse_relative(&text).expect("valid");
        // If the first element of a repository has a dot and another element follows, it is a host.
        if !host.is_empty() || !is_host(repository.as_str().split('/').next().unwrap_or_default()) {
            prop_assert_eq!((reference.host, reference.repository), (&host[..], repository.as_str()));
        }
        prop_assert_eq!(reference.tag, tag.as_ref().map_or("", Tag::as_str));
        prop_assert_eq!(reference.digest, digest.as_ref().map_or("", Digest::as_str));
    }

    #[test]
    fn any_reference_is_parsed_or_refused(text in "\\PC{0,30}|[a-zA-Z0-9:/@.\\[\\]_-]{0,30}") {
        let _ = (Reference::parse(&text), is_host(&text));
    }

    #[test]
    fn any_manifest_is_read_or_refused(content in vec(any::<u8>(), 0..60), json in "[\\[\\]{}\":,a0-9\\\\ ]{0,60}") {
        for content in [&content[..], json.as_bytes()] {
            for kind in ["image.manifest", "image.index", "artifact.manifest"] {
                let _ = manifest::read(content, &format!("application/vnd.oci.{kind}.v1+json"), Strictness::Strict);
            }
        }
    }
}
