//! What a file is that is not what it should be, by its first bytes.

/// How many bytes of a file it takes to know.
pub const HEAD: usize = 512;

/// First bytes, and what begins with them.
const MAGIC: &[(&[u8], &str)] = &[
    (b"\x1f\x8b", "a gzip file: unpack it with gunzip"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard file: unpack it with unzstd"),
    (b"\xfd7zXZ\0", "an xz file: unpack it with unxz"),
    (b"BZh", "a bzip2 file: unpack it with bunzip2"),
    (b"PK\x03\x04", "a zip file: unpack it with unzip"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z file: unpack it first"),
    (b"PAR1", "a Parquet file"),
    (b"ARROW1", "an Arrow file"),
    (b"Obj\x01", "an Avro file"),
    (b"SQLite format 3\0", "an SQLite file"),
    (b"GGUF", "a GGUF file"),
    (b"%PDF-", "a PDF file"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"\xff\xfe", "text in UTF-16: write it in UTF-8, such as with iconv"),
    (b"\xfe\xff", "text in UTF-16: write it in UTF-8, such as with iconv"),
    (
        b"version https://git-lfs.github.com/spec/",
        "a Git LFS pointer in place of the file: fetch it with git lfs pull",
    ),
];

/// First words of pages, in lower case.
const PAGES: &[&[u8]] = &[b"<!doctype html", b"<html", b"<head", b"<body"];

/// What a file is that begins with `head`, where it is neither text of a data format nor unknown;
/// what to do about it follows a colon.
pub fn of(head: &[u8]) -> Option<&'static str> {
    if let Some((_, what)) = MAGIC.iter().find(|(magic, _)| head.starts_with(magic)) {
        return Some(what);
    }
    if head.get(257..262) == Some(b"ustar") {
        return Some("a tar file: unpack it with tar -xf");
    }
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
    let begins =
        |word: &[u8]| text.get(..word.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(word));
    if PAGES.iter().any(|page| begins(page)) {
        return Some("an HTML page, such as that of a login or an error, in place of the file");
    }
    begins(b"<?xml").then_some("an XML file")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_nothing_in_particular() {
        for data in [&b""[..], b"{\"a\": 1}", b"\xef\xbb\xbf [1]", b"<html", b"oops", b"PA"] {
            assert_eq!(of(data).is_some(), data == b"<html", "{data:?}");
        }
        assert!(of(b"\xef\xbb\xbf\n <!DOCTYPE HTML>").unwrap().starts_with("an HTML page"));
        let mut tar = vec![b'a'; HEAD];
        tar[257..262].copy_from_slice(b"ustar");
        assert!(of(&tar).unwrap().starts_with("a tar file"));
    }
}
