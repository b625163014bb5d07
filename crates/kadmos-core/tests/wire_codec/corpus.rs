//! Every input in `corpus/`: seeds of the fuzz targets, and inputs that once failed.

use std::fs;
use std::path::Path;

use super::checks;

#[test]
fn every_input_in_the_corpus_replays() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../corpus");
    for (name, check) in checks::ALL {
        let directory = corpus.join(name);
        let inputs =
            fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
        let mut count = 0;
        for input in inputs {
            let path = input.unwrap().path();
            println!("{}", path.display()); // shown when the check panics
            check(&fs::read(&path).unwrap());
            count += 1;
        }
        assert!(count > 0, "{} has no inputs", directory.display());
    }
    // `kadmos-records` and `kadmos-sim` replay their own.
    let is_elsewhere = |name: &str| name.starts_with("records_") || name == "sim";
    let known = |name: &str| is_elsewhere(name) || checks::ALL.iter().any(|(known, _)| *known == name);
    for directory in fs::read_dir(&corpus).unwrap() {
        let name = directory.unwrap().file_name();
        assert!(name.to_str().is_some_and(known), "corpus/{} belongs to no check", name.display());
    }
}
