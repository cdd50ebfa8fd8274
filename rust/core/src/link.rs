//! The Link header of a page that is not the last (RFC 8288; distribution-spec: listing tags).

use crate::percent::{encode_into, sanitize_into};
use crate::query::sets;

/// `</path?query>;rel="next"`: the URL of the request with `last` set.
///
/// `path` and `query` are raw, as received. Other parameters, such as `n`, stay unchanged.
pub fn next_link(path: &[u8], query: &[u8], last: &str) -> String {
    let mut link = String::with_capacity(path.len() + query.len() + last.len() + 24);
    link.push('<');
    sanitize_into(&mut link, path);
    link.push('?');
    for piece in query.split(|&byte| byte == b'&') {
        if !piece.is_empty() && !sets(piece, "last") {
            sanitize_into(&mut link, piece);
            link.push('&');
        }
    }
    link.push_str("last=");
    encode_into(&mut link, last.as_bytes());
    link.push_str(">;rel=\"next\"");
    link
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_last_and_keeps_the_rest() {
        for (path, query, last, want) in [
            ("/v2/foo/tags/list", "n=1", "latest", "</v2/foo/tags/list?n=1&last=latest>"),
            ("/v2/_catalog", "", "a/b", "</v2/_catalog?last=a%2Fb>"),
            ("/v2/_catalog", "last=x&n=2&last=y&l%61st=z&last", "b", "</v2/_catalog?n=2&last=b>"),
            ("/v2/a%2Fb/tags/list", "n=%31&x", "é +&", "</v2/a%2Fb/tags/list?n=%31&x&last=%C3%A9%20%2B%26>"),
        ] {
            let link = next_link(path.as_bytes(), query.as_bytes(), last);
            assert_eq!(link, format!("{want};rel=\"next\""));
        }
    }

    #[test]
    fn cannot_be_broken_out_of() {
        let link = next_link(b"/v2/x>\r\nEvil: 1", b"n=1>;rel=\"prev\"", "\r\n>");
        assert_eq!(link, "</v2/x%3E%0D%0AEvil:%201?n=1%3E;rel=%22prev%22&last=%0D%0A%3E>;rel=\"next\"");
    }
}
