//! The command line.

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Options {
    /// Ask.
    Load {
        /// Connections, each from a peer of its own.
        clients: usize,
        /// For how long.
        seconds: u64,
        /// Requests that each client has under way at once, on as many streams.
        depth: usize,
    },
    /// Answer: how the program starts itself again.
    Server,
}

impl Options {
    /// Reads `--clients N`, `--seconds N`, `--depth N`, or `--server`.
    pub(crate) fn parse(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let (mut clients, mut seconds, mut depth) = (64, 10, 1);
        while let Some(arg) = args.next() {
            let (target, max) = match arg.as_str() {
                "--server" => return Ok(Self::Server),
                "--clients" => (&mut clients, 500),
                "--seconds" => (&mut seconds, 300),
                "--depth" => (&mut depth, 16),
                _ => return Err(format!("unknown option {arg:?}: there are --clients, --seconds, --depth")),
            };
            let value = args.next().unwrap_or_default();
            *target = value
                .parse()
                .ok()
                .filter(|number| (1..=max).contains(number))
                .ok_or_else(|| format!("{arg}: read {value:?}, expected a number from 1 to {max}"))?;
        }
        Ok(Self::Load { clients: clients as usize, seconds, depth: depth as usize }) // both are small
    }
}
