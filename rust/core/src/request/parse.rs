//! Parses a request line into a typed request. The order of the checks is part of the behaviour, because the first
//! check that fails decides the response. It is the order of Go's `ocirequest.Parse`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::{MAX_TAGS, MAX_UPLOAD_ID_LENGTH, Request};
use crate::digest::{Algorithm, Digest};
use crate::error::{Error, Result};
use crate::kind::{self, Kind, Methods};
use crate::name::{Repository, Tag};
use crate::percent::{Plus, decode};
use crate::query::Query;
use crate::text::{MAX_ECHO, quote};

/// Parse a request line.
///
/// `path` and `query` are raw, as received. `root_path` is the raw prefix under which the application is mounted. It is
/// removed if `path` starts with it as whole elements.
///
/// # Errors
/// The first check that fails, in this order: the query, the escapes of the path, the endpoint, and the checks of the
/// endpoint.
pub fn parse(method: &str, path: &[u8], query: &[u8], root_path: &[u8]) -> Result<Request> {
    let query = Query::parse(query)?;
    let path = decode(path, Plus::Literal).map_err(|escape| Error::BadRequest(escape.to_string()))?;
    let mut request = route(method, without_root(&path, root_path), query)?;
    request.namespace = query.text("ns");
    Ok(request)
}

fn without_root<'a>(path: &'a [u8], root_path: &[u8]) -> &'a [u8] {
    if root_path.is_empty() {
        return path;
    }
    // A root path with a malformed escape is used as it is.
    let root = decode(root_path, Plus::Literal).unwrap_or(root_path.into());
    let root = root.strip_suffix(b"/").unwrap_or(&root);
    match path.strip_prefix(root) {
        Some(rest) if rest.is_empty() || rest.starts_with(b"/") => rest,
        _ => path,
    }
}

fn route(method: &str, path: &[u8], query: Query<'_>) -> Result<Request> {
    if path == b"/v2" || path == b"/v2/" {
        return Ok(Request::new(Kind::Ping));
    }
    let path = path.strip_prefix(b"/v2/").ok_or(Error::UnknownUrlPath)?;
    if path == b"_catalog" {
        let mut request = Request::new(pick(kind::CATALOG, method)?);
        request.n = parse_n(query)?;
        request.last = query.text("last");
        return Ok(request);
    }
    if let Some(repository) = path.strip_suffix(b"/blobs/uploads/").or_else(|| path.strip_suffix(b"/blobs/uploads")) {
        return start_upload(method, repository, query);
    }
    let (path, last) = cut_last(path).ok_or(Error::PageNotFound)?;
    let (path, word) = cut_last(path).ok_or(Error::PageNotFound)?;
    match word {
        b"blobs" => blob(method, path, last),
        b"manifests" => manifest(method, path, last, query),
        b"uploads" => upload(method, path.strip_suffix(b"/blobs").ok_or(Error::PageNotFound)?, last, query),
        b"tags" if last == b"list" => tags(method, path, query),
        b"referrers" => referrers(method, path, last, query),
        _ => Err(Error::PageNotFound),
    }
}

/// Split at the last slash.
fn cut_last(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let slash = memchr::memrchr(b'/', path)?;
    Some((&path[..slash], &path[slash + 1..]))
}

fn pick(methods: Methods, method: &str) -> Result<Kind> {
    let found = methods.iter().find(|(name, _)| *name == method);
    found.map(|(_, kind)| *kind).ok_or(Error::MethodNotAllowed(methods))
}

fn blob(method: &str, repository: &[u8], digest: &[u8]) -> Result<Request> {
    let digest = Digest::from_bytes(digest)?;
    let repository = Repository::from_bytes(repository)?;
    let mut request = Request::new(pick(kind::BLOB, method)?);
    request.repository = Some(repository);
    request.digest = Some(digest);
    Ok(request)
}

fn start_upload(method: &str, repository: &[u8], query: Query<'_>) -> Result<Request> {
    let repository = Repository::from_bytes(repository)?;
    let mut request = Request::new(pick(kind::UPLOADS, method)?);
    request.repository = Some(repository);
    if let Some(mount) = query.first("mount") {
        request.kind = Kind::BlobMount;
        request.digest = Some(Digest::from_bytes(&mount)?);
        request.from_repository = query.first("from").map(|from| Repository::from_bytes(&from)).transpose()?;
    } else if let Some(digest) = query.first("digest") {
        request.kind = Kind::UploadBlob;
        request.digest = Some(Digest::from_bytes(&digest)?);
    } else {
        request.digest_algorithm =
            query.first("digest-algorithm").map(|name| Algorithm::from_bytes(&name)).transpose()?;
    }
    Ok(request)
}

fn upload(method: &str, repository: &[u8], encoded_id: &[u8], query: Query<'_>) -> Result<Request> {
    let repository = Repository::from_bytes(repository)?;
    let upload_id = parse_upload_id(encoded_id)?;
    let mut request = Request::new(pick(kind::UPLOAD, method)?);
    request.repository = Some(repository);
    request.upload_id = Some(upload_id);
    if request.kind == Kind::UploadComplete {
        let digest = query.first("digest").ok_or(Error::BadlyFormedDigest)?;
        request.digest = Some(Digest::from_bytes(&digest)?);
    }
    Ok(request)
}

fn parse_upload_id(encoded: &[u8]) -> Result<Box<str>> {
    // No path leads here: without an ID it is the path of an upload start.
    if encoded.is_empty() {
        return Err(Error::PageNotFound);
    }
    // Four characters encode three bytes.
    if encoded.len() > MAX_UPLOAD_ID_LENGTH.div_ceil(3) * 4 {
        return Err(Error::BadRequest(format!("invalid upload ID: longer than {MAX_UPLOAD_ID_LENGTH} bytes")));
    }
    let quoted = || quote(encoded, MAX_ECHO);
    let id = URL_SAFE_NO_PAD
        .decode(encoded)
        .map_err(|_| Error::BadRequest(format!("invalid upload ID {} (cannot decode)", quoted())))?;
    if id.len() > MAX_UPLOAD_ID_LENGTH {
        return Err(Error::BadRequest(format!("invalid upload ID: longer than {MAX_UPLOAD_ID_LENGTH} bytes")));
    }
    let id = String::from_utf8(id)
        .map_err(|_| Error::BadRequest(format!("upload ID {} decoded to invalid utf8", quoted())))?;
    Ok(id.into())
}

fn manifest(method: &str, repository: &[u8], reference: &[u8], query: Query<'_>) -> Result<Request> {
    let repository = Repository::from_bytes(repository)?;
    let (mut digest, mut tag) = (None, None);
    if reference.contains(&b':') {
        // No tag has a colon, so this is a digest. The error for a digest helps the client more than a 404.
        digest = Some(Digest::from_bytes(reference)?);
    } else {
        tag = Some(Tag::from_bytes(reference).map_err(|_| Error::PageNotFound)?);
    }
    let mut request = Request::new(pick(kind::MANIFEST, method)?);
    request.repository = Some(repository);
    request.digest = digest;
    request.tag = tag;
    if request.kind == Kind::ManifestPut {
        request.tags = parse_tags(query)?;
    }
    Ok(request)
}

/// The `tag` parameters of a manifest PUT (end-7b), without duplicates.
fn parse_tags(query: Query<'_>) -> Result<Vec<Tag>> {
    let mut tags = Vec::new();
    for (index, value) in query.all("tag").enumerate() {
        // The limit counts duplicates too, because it bounds the time to find them.
        if index == MAX_TAGS {
            return Err(Error::BadRequest(format!("too many tag parameters: at most {MAX_TAGS} are accepted")));
        }
        let tag = Tag::from_bytes(&value).map_err(|error| Error::BadRequest(error.to_string()))?;
        if !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    Ok(tags)
}

fn tags(method: &str, repository: &[u8], query: Query<'_>) -> Result<Request> {
    let n = parse_n(query)?;
    let mut request = Request::new(pick(kind::TAGS, method)?);
    request.repository = Some(Repository::from_bytes(repository)?);
    request.n = n;
    request.last = query.text("last");
    Ok(request)
}

fn referrers(method: &str, repository: &[u8], digest: &[u8], query: Query<'_>) -> Result<Request> {
    let digest = Digest::from_bytes(digest)?;
    let mut request = Request::new(pick(kind::REFERRERS, method)?);
    request.repository = Some(Repository::from_bytes(repository)?);
    request.digest = Some(digest);
    request.artifact_type = query.media_type("artifactType");
    request.last = query.text("last");
    Ok(request)
}

/// Parse `n`: a decimal integer that fits into 64 bits, with an optional sign (Go: `strconv.Atoi`).
fn parse_n(query: Query<'_>) -> Result<Option<u64>> {
    let Some(value) = query.first("n") else {
        return Ok(None);
    };
    // Rust has the same rules for i64 as Go: an optional sign and ASCII digits.
    let n = std::str::from_utf8(&value).ok().and_then(|text| text.parse::<i64>().ok());
    let n = n.ok_or_else(|| Error::BadRequest("query parameter n is not a valid integer".to_owned()))?;
    let n = u64::try_from(n).map_err(|_| Error::BadRequest("query parameter n must not be negative".to_owned()))?;
    Ok(Some(n))
}
