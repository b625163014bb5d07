//! `kadmos decode`.

use std::io::{self, Read as _};
use std::path::Path;
use std::time::SystemTime;

use kadmos_core::UnixTime;
use serde::Serialize;

use crate::args::Decode;
use crate::decode::{Input, Tree, decode};
use crate::exit::Failure;
use crate::output::Output;

/// More than the largest message and its base64 spelling.
const INPUT_BYTES_MAX: u64 = 8 << 20;

#[derive(Serialize)]
struct Decoded<'a> {
    schema: &'static str,
    #[serde(flatten)]
    tree: &'a Tree,
}

/// Runs the command.
pub(crate) fn run(args: &Decode, output: &mut Output) -> Result<(), Failure> {
    let input = match args.input.strip_prefix('@') {
        Some(path) => read(Path::new(path), std::fs::File::open(path))?,
        None if args.input == "-" => read(Path::new("-"), Ok(io::stdin()))?,
        None => Input::Text(args.input.clone()),
    };
    let now = UnixTime::from_secs(SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs()));
    let tree = decode(&input, args.kind, now).map_err(|error| {
        let read: String = args.input.chars().take(80).collect();
        Failure::usage(format_args!("cannot decode {read:?}: {error}"))
    })?;
    output.print(&Decoded { schema: "kadmos.decoded/1", tree: &tree }, |to, _| tree.write(to, 0))
}

fn read(path: &Path, source: io::Result<impl io::Read>) -> Result<Input, Failure> {
    let mut bytes = Vec::new();
    let result = source.and_then(|source| source.take(INPUT_BYTES_MAX + 1).read_to_end(&mut bytes));
    result.map_err(|error| Failure::io("read", path, &error, "check the path after @"))?;
    if bytes.len() as u64 > INPUT_BYTES_MAX {
        return Err(Failure::usage(format_args!(
            "{} has more than {INPUT_BYTES_MAX} bytes, expected one record or message",
            path.display()
        )));
    }
    Ok(Input::from_file(bytes))
}
