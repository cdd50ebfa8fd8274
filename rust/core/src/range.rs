//! Byte ranges: Range (RFC 9110, 14.1.2), and the Content-Range of uploads (distribution-spec).

use std::ops;

use crate::error::{Error, Result};

/// Maximum number of ranges in one Range header.
///
/// A client that has a part of a layer (zstd:chunked) requests up to 1,024 ranges. Each range takes about 200 bytes of
/// memory, and 140 bytes of the response besides its content. RFC 9110 (14.2) allows a server to ignore a Range header
/// with more.
pub const MAX_RANGES: usize = 1024;

/// One range, not yet resolved against a size. Both ends are inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ByteRange {
    /// `first-last`, or `first-` if `last` is None.
    From {
        /// Offset of the first byte.
        first: u64,
        /// Offset of the last byte, not before `first`.
        last: Option<u64>,
    },
    /// `-length`: the last bytes.
    Suffix(u64),
}

impl ByteRange {
    /// Make a range from its two optional ends, as in a header.
    ///
    /// # Errors
    /// [`Error::InvalidRange`] if both are missing, or the first is after the last.
    pub fn new(first: Option<u64>, last: Option<u64>) -> Result<Self> {
        match (first, last) {
            (None, None) => Err(Error::InvalidRange("a range needs a first or a last byte")),
            (None, Some(length)) => Ok(Self::Suffix(length)),
            (Some(first), Some(last)) if first > last => {
                Err(Error::InvalidRange("the first byte of a range is after its last byte"))
            }
            (Some(first), last) => Ok(Self::From { first, last }),
        }
    }

    /// The two ends, as in a header.
    pub fn ends(self) -> (Option<u64>, Option<u64>) {
        match self {
            Self::From { first, last } => (Some(first), last),
            Self::Suffix(length) => (None, Some(length)),
        }
    }

    /// The bytes of the range in a content of `size` bytes. None if the range is not satisfiable.
    ///
    /// By RFC 9110 a suffix of an empty content is satisfiable, but Content-Range cannot express it. So it counts as
    /// not satisfiable.
    pub fn resolve(self, size: u64) -> Option<ops::Range<u64>> {
        let range = match self {
            Self::From { first, last } => first..last.map_or(size, |last| size.min(last.saturating_add(1))),
            Self::Suffix(length) => size.saturating_sub(length)..size,
        };
        (range.start < range.end).then_some(range)
    }
}

/// Parse a Range header. None means that the server ignores it and sends the whole content: the unit is unknown (RFC
/// 9110, 14.2: MUST ignore), `bytes=` has no range (as in Go), or there are more than [`MAX_RANGES`] ranges. It does
/// not read the ranges beyond that limit.
///
/// # Errors
/// [`Error::InvalidRange`] if the header is malformed, or a range ends before it starts.
pub fn parse_range(header: &[u8]) -> Result<Option<Vec<ByteRange>>> {
    let Some(equals) = header.iter().position(|&byte| byte == b'=') else {
        return Err(Error::InvalidRange("malformed range"));
    };
    let (unit, set) = (header[..equals].trim_ascii(), &header[equals + 1..]);
    if !unit.eq_ignore_ascii_case(b"bytes") {
        return Ok(None);
    }
    let mut ranges = Vec::new();
    for spec in set.split(|&byte| byte == b',') {
        let spec = spec.trim_ascii();
        if spec.is_empty() {
            continue;
        }
        if ranges.len() == MAX_RANGES {
            return Ok(None);
        }
        ranges.push(parse_spec(spec).ok_or(Error::InvalidRange("malformed range"))??);
    }
    Ok((!ranges.is_empty()).then_some(ranges))
}

fn parse_spec(spec: &[u8]) -> Option<Result<ByteRange>> {
    let dash = spec.iter().position(|&byte| byte == b'-')?;
    let end = |text: &[u8]| match text.trim_ascii() {
        b"" => Some(None),
        digits => parse_digits(digits).map(Some),
    };
    let (first, last) = (end(&spec[..dash])?, end(&spec[dash + 1..])?);
    Some(ByteRange::new(first, last))
}

/// Parse digits. A number that does not fit into 64 bits becomes the largest that does.
fn parse_digits(digits: &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
    }
    (!digits.is_empty()).then_some(value)
}

/// Parse the Content-Range of an upload: `start-end`, both inclusive, without a unit.
///
/// `N-(N-1)` is empty at N. Go's client sends it with an empty closing PUT.
///
/// # Errors
/// [`Error::InvalidContentRange`] for any other form.
pub fn parse_content_range(header: &[u8]) -> Result<(u64, u64)> {
    let exact = |digits: &[u8]| parse_digits(digits).filter(|&value| i64::try_from(value).is_ok());
    let header = header.trim_ascii();
    let dash = header.iter().position(|&byte| byte == b'-').ok_or(Error::InvalidContentRange)?;
    match (exact(&header[..dash]), exact(&header[dash + 1..])) {
        (Some(start), Some(end)) if start <= end + 1 => Ok((start, end)),
        _ => Err(Error::InvalidContentRange),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(first: u64, last: Option<u64>) -> ByteRange {
        ByteRange::From { first, last }
    }

    #[test]
    fn ranges() {
        for (header, want) in [
            ("bytes=0-0", vec![from(0, Some(0))]),
            ("bytes=3-", vec![from(3, None)]),
            ("bytes=-5", vec![ByteRange::Suffix(5)]),
            ("bytes=-0", vec![ByteRange::Suffix(0)]),
            ("Bytes = 1 - 2 , 3-4 ,, -5\t", vec![from(1, Some(2)), from(3, Some(4)), ByteRange::Suffix(5)]),
            ("bytes=0-99999999999999999999999", vec![from(0, Some(u64::MAX))]),
        ] {
            assert_eq!(parse_range(header.as_bytes()), Ok(Some(want)), "{header}");
        }
    }

    #[test]
    fn no_range() {
        for header in ["bytes=", "bytes= ", "bytes=,", "items=0-5", "=0-5", "seconds=now"] {
            assert_eq!(parse_range(header.as_bytes()), Ok(None), "{header}");
        }
    }

    #[test]
    fn malformed_ranges() {
        for header in [
            "",
            "bytes",
            "0-5",
            "bytes=5",
            "bytes=-",
            "bytes=a-b",
            "bytes=5-0",
            "bytes=1-2-3",
            "bytes=--5",
            "bytes=+1-2",
            "bytes=1_0-20",
            "bytes=1-2;3-4",
            "bytes=\u{663}-5",
            "bytes=1 0-20",
            "bytes=0-1,x",
        ] {
            assert!(parse_range(header.as_bytes()).is_err(), "{header}");
        }
    }

    #[test]
    fn many_ranges() {
        let header = |count: usize| format!("bytes={}", vec!["0-0"; count].join(","));
        let most = parse_range(header(MAX_RANGES).as_bytes()).expect("well-formed").expect("ranges");
        assert_eq!(most.len(), MAX_RANGES);
        assert_eq!(parse_range(header(MAX_RANGES + 1).as_bytes()), Ok(None));
        assert_eq!(parse_range(format!("{},x", header(MAX_RANGES)).as_bytes()), Ok(None));
        assert!(parse_range(format!("{},x", header(MAX_RANGES - 1)).as_bytes()).is_err());
    }

    #[test]
    fn resolves_against_a_size() {
        for (range, size, want) in [
            (from(500, Some(1499)), 2048, Some(500..1500)),
            (from(500, None), 2048, Some(500..2048)),
            (ByteRange::Suffix(500), 2048, Some(1548..2048)),
            (ByteRange::Suffix(5000), 2048, Some(0..2048)),
            (from(2000, Some(5000)), 2048, Some(2000..2048)),
            (from(0, Some(u64::MAX)), 11, Some(0..11)),
            (from(5000, Some(10000)), 2048, None),
            (from(11, None), 11, None),
            (from(10, None), 11, Some(10..11)),
            (ByteRange::Suffix(0), 11, None),
            (from(0, None), 0, None),
            (ByteRange::Suffix(5), 0, None),
        ] {
            assert_eq!(range.resolve(size), want, "{range:?} of {size}");
        }
    }

    #[test]
    fn checked_construction() {
        assert!(ByteRange::new(None, None).is_err());
        assert!(ByteRange::new(Some(2), Some(1)).is_err());
        for ends in [(Some(1), Some(1)), (Some(0), None), (None, Some(0))] {
            assert_eq!(ByteRange::new(ends.0, ends.1).map(ByteRange::ends), Ok(ends));
        }
    }

    #[test]
    fn content_ranges() {
        for (header, want) in [("0-0", (0, 0)), ("0-2", (0, 2)), ("3-5", (3, 5)), ("7-6", (7, 6)), (" 1-2 ", (1, 2))] {
            assert_eq!(parse_content_range(header.as_bytes()), Ok(want));
        }
        for header in [
            "",
            "-",
            "0-",
            "-0",
            "0--1",
            "0-bar",
            "foo-0",
            "bytes 0-5",
            "bytes=0-5",
            "0-5/6",
            "5-3",
            "+0-5",
            "0 - 5",
            "0-9223372036854775808",
            "1-99999999999999999999",
        ] {
            assert_eq!(parse_content_range(header.as_bytes()), Err(Error::InvalidContentRange), "{header}");
        }
    }
}
