//! The checked-in code is what `proto/` says: generates it anew and compares. `UPDATE=1` rewrites it.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use prost::Message;
use prost_types::FileDescriptorSet;

const PROTOS: &[&str] = &[
    "civicmesh/exchange/v1/exchange.proto",
    "civicmesh/department/v1/error.proto",
    "civicmesh/department/v1/department.proto",
    "google/rpc/status.proto",
];
const DESCRIPTOR: &str = "descriptor.bin";
/// Messages whose `Debug` is written by hand, since they carry observations.
const REDACTED: &[&str] = &[".civicmesh.department.v1.IngestRequest", ".civicmesh.department.v1.IngestReject"];

#[test]
fn generated_code_is_current() {
    let generated = generate();
    let checked_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/generated");
    if std::env::var_os("UPDATE").is_some() {
        fs::create_dir_all(&checked_in).unwrap();
        for (name, content) in &generated {
            fs::write(checked_in.join(name), content).unwrap();
        }
    }
    let current = read_folder(&checked_in);
    assert_eq!(
        current.keys().collect::<Vec<_>>(),
        generated.keys().collect::<Vec<_>>(),
        "other files than proto/ yields; run UPDATE=1 cargo test -p civicmesh-proto"
    );
    for (name, content) in &generated {
        assert!(
            current[name] == *content,
            "{name} has drifted from proto/; run UPDATE=1 cargo test -p civicmesh-proto"
        );
    }
}

#[test]
fn every_proto_file_is_generated_from() {
    fn protos_below(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                protos_below(&path, found);
            } else if path.extension().is_some_and(|ending| ending == "proto") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    protos_below(&proto_folder(), &mut found);
    let mut listed: Vec<_> = PROTOS.iter().map(|path| proto_folder().join(path)).collect();
    found.sort();
    listed.sort();
    assert_eq!(found, listed);
}

fn proto_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto")
}

/// File name to content, as `proto/` yields it now.
fn generate() -> BTreeMap<String, Vec<u8>> {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("civicmesh-proto-generated");
    let _ = fs::remove_dir_all(&out);
    fs::create_dir_all(&out).unwrap();
    let mut compiler = protox::Compiler::new([proto_folder()]).unwrap();
    compiler
        .include_imports(true)
        .include_source_info(true)
        .open_files(PROTOS)
        .unwrap_or_else(|error| panic!("{error:?}"));
    let descriptors = compiler.file_descriptor_set();
    tonic_prost_build::configure()
        .out_dir(&out)
        .bytes(".")
        .skip_debug(REDACTED)
        .emit_rerun_if_changed(false)
        .compile_fds(descriptors.clone())
        .unwrap();
    let mut files = read_folder(&out);
    files.insert(DESCRIPTOR.into(), without_comments(descriptors).encode_to_vec());
    files
}

fn without_comments(mut descriptors: FileDescriptorSet) -> FileDescriptorSet {
    for file in &mut descriptors.file {
        file.source_code_info = None;
    }
    descriptors
}

fn read_folder(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, fs::read(&path).unwrap())
        })
        .collect()
}
