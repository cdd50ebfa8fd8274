//! Lines of the access log: as text, or as JSON with one object per line.
//!
//! Both can be read line by line: no input of a client can end a line or start one.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use humantime::{Rfc3339Timestamp, format_rfc3339_millis};

/// The format of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `<time> <level or "access"> <text>`.
    Text,
    /// An object with `time`, `level`, `message` and further fields.
    Json,
}

/// A finished request.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// The ID of the client, if it is short and printable, else an ID of the server.
    pub request_id: &'a str,
    /// Address of the client; "" if it is unknown.
    pub client: &'a str,
    /// The method as received.
    pub method: &'a str,
    /// The path as received, percent-encoded.
    pub path: &'a [u8],
    /// The kind of request. None if it could not be parsed.
    pub kind: Option<&'a str>,
    /// The repository. None if the request has none.
    pub repository: Option<&'a str>,
    /// The status of the response. 0 if none was sent.
    pub status: u16,
    /// Bytes of the request body that were read.
    pub received: u64,
    /// Bytes of the response body that were sent.
    pub sent: u64,
    /// Duration of the request in seconds.
    pub duration: f64,
    /// The name of the user; "" if nobody has signed in.
    pub user: &'a str,
    /// How the user signed in.
    pub via: &'a str,
}

// Writing to a `String` never fails.
#[allow(unused_must_use)]
impl Format {
    /// Append the line of a request that finished at `at`, without its newline.
    pub fn access(self, at: SystemTime, event: &Event<'_>, line: &mut String) {
        let Event { client, method, received, sent, duration, .. } = event;
        let at = time(at);
        match self {
            Self::Text => {
                let client = if client.is_empty() { "-" } else { client };
                write!(line, "{at} access  {client} \"{method} ");
                push_quoted(line, event.path);
                line.push_str("\" ");
                push_status(line, event.status, "-");
                write!(line, " in={received} out={sent} {:.1}ms id=", duration * 1000.0);
                push_quoted(line, event.request_id.as_bytes());
                if !event.user.is_empty() {
                    line.push_str(" user=\"");
                    push_quoted(line, event.user.as_bytes());
                    line.push_str("\" via=");
                    push_quoted(line, event.via.as_bytes());
                }
            }
            Self::Json => {
                write!(line, r#"{{"time":"{at}","level":"info","message":"request","request_id":"#);
                push_json(line, event.request_id);
                line.push_str(r#","client":"#);
                push_json(line, client);
                line.push_str(r#","method":"#);
                push_json(line, method);
                line.push_str(r#","path":"#);
                push_json_bytes(line, event.path);
                line.push_str(r#","kind":"#);
                push_json_or_null(line, event.kind);
                line.push_str(r#","repository":"#);
                push_json_or_null(line, event.repository);
                line.push_str(r#","status":"#);
                push_status(line, event.status, "null");
                write!(line, r#","received_bytes":{received},"sent_bytes":{sent},"duration_s":{duration:.6}"#);
                if !event.user.is_empty() {
                    line.push_str(r#","user":"#);
                    push_json(line, event.user);
                    line.push_str(r#","via":"#);
                    push_json(line, event.via);
                }
                line.push('}');
            }
        }
    }

    /// Append the line that says how many lines were dropped, without its newline.
    pub(super) fn dropped(self, at: SystemTime, count: u64, line: &mut String) {
        let at = time(at);
        let text =
            format_args!("{count} log lines were dropped: the log cannot be written as fast as requests come in");
        match self {
            Self::Text => write!(line, "{at} warning {text}"),
            Self::Json => {
                write!(line, r#"{{"time":"{at}","level":"warning","message":"{text}","dropped":{count}}}"#)
            }
        };
    }
}

/// The time in UTC with milliseconds (RFC 3339). A clock before 1970 is not set, and counts as 1970.
fn time(at: SystemTime) -> Rfc3339Timestamp {
    format_rfc3339_millis(at.max(UNIX_EPOCH))
}

fn push_status(line: &mut String, status: u16, none: &str) {
    if status == 0 {
        line.push_str(none);
    } else {
        let _ = write!(line, "{status}");
    }
}

/// Printable ASCII, without the two characters that both formats escape.
fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\'
}

/// Append the text unchanged if it needs no escapes, as almost always. Returns whether it did.
fn pushed_plain(line: &mut String, text: &[u8]) -> bool {
    if !text.iter().all(|&byte| is_plain(byte)) {
        return false;
    }
    let Ok(text) = std::str::from_utf8(text) else { return false };
    line.push_str(text);
    true
}

/// Append text for between quotes: printable ASCII unchanged, every other byte escaped.
fn push_quoted(line: &mut String, text: &[u8]) {
    if pushed_plain(line, text) {
        return;
    }
    for &byte in text {
        match byte {
            b'"' | b'\\' => line.extend(['\\', char::from(byte)]),
            b' '..=b'~' => line.push(char::from(byte)),
            _ => push_byte(line, byte),
        }
    }
}

fn push_byte(line: &mut String, byte: u8) {
    let _ = write!(line, "\\x{byte:02x}");
}

fn push_json_or_null(line: &mut String, text: Option<&str>) {
    match text {
        Some(text) => push_json(line, text),
        None => line.push_str("null"),
    }
}

/// Append a JSON string in ASCII.
fn push_json(line: &mut String, text: &str) {
    line.push('"');
    if !pushed_plain(line, text.as_bytes()) {
        for character in text.chars() {
            push_json_character(line, character);
        }
    }
    line.push('"');
}

/// Append a JSON string. Its value has `\xNN` for each byte that is not ASCII.
fn push_json_bytes(line: &mut String, text: &[u8]) {
    line.push('"');
    if !pushed_plain(line, text) {
        for &byte in text {
            if byte.is_ascii() {
                push_json_character(line, char::from(byte));
            } else {
                line.push('\\');
                push_byte(line, byte);
            }
        }
    }
    line.push('"');
}

fn push_json_character(line: &mut String, character: char) {
    match character {
        '"' | '\\' => line.extend(['\\', character]),
        '\n' => line.push_str("\\n"),
        '\r' => line.push_str("\\r"),
        '\t' => line.push_str("\\t"),
        '\u{8}' => line.push_str("\\b"),
        '\u{c}' => line.push_str("\\f"),
        ' '..='~' => line.push(character),
        _ => {
            for unit in character.encode_utf16(&mut [0; 2]) {
                let _ = write!(line, "\\u{unit:04x}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const PING: Event<'_> = Event {
        request_id: "id-1",
        client: "127.0.0.1",
        method: "GET",
        path: b"/v2/",
        kind: Some("ping"),
        repository: None,
        status: 200,
        received: 0,
        sent: 2,
        duration: 0.0012,
        user: "",
        via: "",
    };

    fn line(format: Format, event: &Event<'_>) -> String {
        let mut line = String::new();
        format.access(UNIX_EPOCH + Duration::from_micros(1_800_000_000_123_900), event, &mut line);
        line
    }

    #[test]
    fn usual_requests() {
        assert_eq!(
            line(Format::Text, &PING),
            r#"2027-01-15T08:00:00.123Z access  127.0.0.1 "GET /v2/" 200 in=0 out=2 1.2ms id=id-1"#
        );
        assert_eq!(
            line(Format::Json, &PING),
            r#"{"time":"2027-01-15T08:00:00.123Z","level":"info","message":"request","request_id":"id-1","#.to_owned()
                + r#""client":"127.0.0.1","method":"GET","path":"/v2/","kind":"ping","repository":null,"#
                + r#""status":200,"received_bytes":0,"sent_bytes":2,"duration_s":0.001200}"#
        );
    }

    #[test]
    fn escapes() {
        let odd = Event {
            request_id: "\"é\u{1f600}\\",
            client: "",
            path: b"/\"\\\n\x08\x7f\xc3\xff~",
            kind: None,
            repository: Some("\t\u{2028}"),
            status: 0,
            ..PING
        };
        assert_eq!(
            line(Format::Text, &odd),
            "2027-01-15T08:00:00.123Z access  - ".to_owned()
                + r#""GET /\"\\\x0a\x08\x7f\xc3\xff~" - in=0 out=2 1.2ms id=\"\xc3\xa9\xf0\x9f\x98\x80\\"#
        );
        assert_eq!(
            line(Format::Json, &odd),
            r#"{"time":"2027-01-15T08:00:00.123Z","level":"info","message":"request","#.to_owned()
                + r#""request_id":"\"\u00e9\ud83d\ude00\\","client":"","method":"GET","#
                + r#""path":"/\"\\\n\b\u007f\\xc3\\xff~","kind":null,"repository":"\t\u2028","#
                + r#""status":null,"received_bytes":0,"sent_bytes":2,"duration_s":0.001200}"#
        );
    }

    #[test]
    fn users() {
        let event = Event { user: "al\"ice\n", via: "htpasswd", ..PING };
        assert!(line(Format::Text, &event).ends_with(r#" id=id-1 user="al\"ice\x0a" via=htpasswd"#));
        let json = line(Format::Json, &event);
        assert!(json.ends_with(r#""duration_s":0.001200,"user":"al\"ice\n","via":"htpasswd"}"#), "{json}");
    }

    #[test]
    fn durations_are_rounded_to_even() {
        for (duration, text, json) in [
            (0.0, "0.0ms", "0.000000}"),
            (0.000_25, "0.2ms", "0.000250}"),
            (0.000_75, "0.8ms", "0.000750}"),
            (0.000_000_5, "0.0ms", "0.000000}"),
            (0.999_999_9, "1000.0ms", "1.000000}"),
            (1e6, "1000000000.0ms", "1000000.000000}"),
        ] {
            let event = Event { duration, ..PING };
            assert!(line(Format::Text, &event).contains(&format!(" {text} ")), "{duration}");
            assert!(line(Format::Json, &event).ends_with(&format!(":{json}")), "{duration}");
        }
    }

    #[test]
    fn dropped_lines() {
        for (format, expected) in [
            (Format::Text, "1970-01-01T00:00:00.000Z warning 7 log lines were dropped: "),
            (Format::Json, r#"{"time":"1970-01-01T00:00:00.000Z","level":"warning","message":"7 log lines were "#),
        ] {
            let mut line = String::new();
            format.dropped(UNIX_EPOCH, 7, &mut line);
            assert!(line.starts_with(expected), "{line}");
        }
    }
}
