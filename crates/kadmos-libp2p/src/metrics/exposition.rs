//! From OpenMetrics to the text format before it.

/// Rewrites OpenMetrics text as `text/plain; version=0.0.4`: there a counter's description carries the name of its
/// samples, and units and the end are not marked.
pub(super) fn to_plain(openmetrics: &str) -> String {
    let counters: Vec<&str> = openmetrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter"))
        .collect();
    let mut plain = String::with_capacity(openmetrics.len() + 16 * counters.len());
    for line in openmetrics.lines() {
        if line == "# EOF" || line.starts_with("# UNIT ") {
            continue;
        }
        let described = ["# HELP ", "# TYPE "].into_iter().find_map(|prefix| {
            let (name, rest) = line.strip_prefix(prefix)?.split_once(' ')?;
            counters.contains(&name).then_some((prefix, name, rest))
        });
        match described {
            Some((prefix, name, rest)) => plain.extend([prefix, name, "_total ", rest]),
            None => plain.push_str(line),
        }
        plain.push('\n');
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_described_by_the_name_of_their_samples() {
        let openmetrics = "# HELP a A thing.\n# TYPE a counter\na_total{b=\"# EOF\"} 1\n# HELP c_seconds T.\n\
            # TYPE c_seconds gauge\n# UNIT c_seconds seconds\nc_seconds 2\n# EOF\n";
        let plain = "# HELP a_total A thing.\n# TYPE a_total counter\na_total{b=\"# EOF\"} 1\n\
            # HELP c_seconds T.\n# TYPE c_seconds gauge\nc_seconds 2\n";
        assert_eq!(to_plain(openmetrics), plain);
    }
}
