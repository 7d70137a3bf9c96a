//! Patterns by which faults, crashes and anchors name files.
//!
//! Knows nothing of what is done to the files.

/// Whether `path`, which is absolute, matches `pattern`, in which `*` stands for any text, slashes included. A
/// pattern without a leading slash matches the end of a path from any of its names on: `sessions.json`, `locks/*`,
/// `*.tmp`.
pub fn path_matches(pattern: &str, path: &str) -> bool {
    if pattern.starts_with('/') {
        return glob_matches(pattern, path);
    }
    path.match_indices('/').any(|(slash, _)| glob_matches(pattern, &path[slash + 1..]))
}

fn glob_matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    let Some(mut middle) = rest.strip_suffix(last) else { return false };
    for part in parts {
        match middle.find(part) {
            Some(at) => middle = &middle[at + part.len()..],
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_names_from_the_end() {
        let cases = [
            ("*", "/a/b", true),
            ("*", "/", true),
            ("store.json", "/state/store.json", true),
            ("store.json", "/state/old-store.json", false),
            ("tore.json", "/state/store.json", false),
            ("state/*", "/var/state/deep/x", true),
            ("state", "/state/x", false),
            ("*.tmp", "/state/a.b.tmp", true),
            ("*.tmp", "/state/a.tmp.bak", false),
            ("/state/*.lock", "/state/a.lock", true),
            ("/state/*.lock", "/var/state/a.lock", false),
            ("a*b*c", "/axxbyybzc", true),
            ("a*a", "/a", false),
        ];
        for (pattern, path, expected) in cases {
            assert_eq!(path_matches(pattern, path), expected, "{pattern} on {path}");
        }
    }
}
