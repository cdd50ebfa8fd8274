//! A request, and the expected response.

use std::fmt::Write as _;

use crate::content::Content;

/// The URL of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A path with its query.
    Path(String),
    /// The Location of the last response that had one, with this text added to its query.
    Location(String),
}

/// The body of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// No body, and no Content-Length.
    None,
    /// These bytes.
    Bytes(Vec<u8>),
    /// Bytes that are generated while they are sent.
    Content(Content),
}

impl Body {
    /// Size in bytes.
    pub fn length(&self) -> u64 {
        match self {
            Self::None => 0,
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Content(content) => content.length,
        }
    }
}

/// One request of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The HTTP method.
    pub method: String,
    /// The URL.
    pub target: Target,
    /// Headers in addition to Host, Content-Length and those of every request.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Body,
    /// The statuses that count as success.
    pub expect: Vec<u16>,
    /// The expected `sha256:...` of the response body. Hashing takes time.
    pub digest: Option<String>,
}

impl Step {
    /// Append the head of the request to a buffer.
    pub(crate) fn write_head(&self, path: &str, common: &str, out: &mut Vec<u8>) {
        let mut head = String::with_capacity(256);
        // Writing to a string cannot fail.
        let _ = write!(head, "{} {path} HTTP/1.1\r\n{common}", self.method);
        for (name, value) in &self.headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        if self.body != Body::None || matches!(self.method.as_str(), "POST" | "PUT" | "PATCH") {
            let _ = write!(head, "Content-Length: {}\r\n", self.body.length());
        }
        head.push_str("\r\n");
        out.extend_from_slice(head.as_bytes());
    }
}

/// The path and query of a Location. None if it is on another server.
pub(crate) fn local_path<'a>(location: &'a str, authority: &str) -> Option<&'a str> {
    if location.starts_with('/') && !location.starts_with("//") {
        return Some(location);
    }
    let rest = location.strip_prefix("http://").or_else(|| location.strip_prefix("https://"))?;
    let path = rest.get(..authority.len()).filter(|host| host.eq_ignore_ascii_case(authority))?;
    Some(&rest[path.len()..]).filter(|path| path.starts_with('/'))
}

/// A path with `query` added to its query.
pub(crate) fn with_query(path: &str, query: &str) -> String {
    match query {
        "" => path.to_owned(),
        _ => format!("{path}{}{query}", if path.contains('?') { '&' } else { '?' }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_followed_on_its_own_server_only() {
        let cases = [
            ("/v2/a/blobs/uploads/1", Some("/v2/a/blobs/uploads/1")),
            ("http://Host:5000/v2/x?y=1", Some("/v2/x?y=1")),
            ("https://host:5000/v2/x", Some("/v2/x")),
            ("http://other:5000/v2/x", None),
            ("http://host:50001/v2/x", None),
            ("http://host:5000", None),
            ("//host:5000/v2/x", None),
            ("v2/x", None),
            ("http://ho", None),
            ("", None),
        ];
        for (location, expected) in cases {
            assert_eq!(local_path(location, "host:5000"), expected, "{location}");
        }
    }

    #[test]
    fn an_added_query_keeps_the_existing_one() {
        assert_eq!(with_query("/a", "digest=x"), "/a?digest=x");
        assert_eq!(with_query("/a?state=1", "digest=x"), "/a?state=1&digest=x");
        assert_eq!(with_query("/a?state=1", ""), "/a?state=1");
    }

    #[test]
    fn a_head_has_the_length_of_the_body() {
        let mut step = Step {
            method: "GET".into(),
            target: Target::Path("/v2/".into()),
            headers: vec![("Accept".into(), "a/b".into())],
            body: Body::None,
            expect: vec![200],
            digest: None,
        };
        let head = |step: &Step| {
            let mut out = Vec::new();
            step.write_head("/v2/", "Host: h\r\n", &mut out);
            String::from_utf8(out).expect("ASCII")
        };
        assert_eq!(head(&step), "GET /v2/ HTTP/1.1\r\nHost: h\r\nAccept: a/b\r\n\r\n");
        step.method = "POST".into();
        assert!(head(&step).ends_with("Accept: a/b\r\nContent-Length: 0\r\n\r\n"));
        step.body = Body::Content(Content { stamp: 0, offset: 0, length: 300 });
        assert!(head(&step).ends_with("Content-Length: 300\r\n\r\n"));
    }
}
