//! Compiles the programs that watch processes in the kernel, with clang, when the
//! feature `ebpf` is on. Without clang the build goes on and the provider says why
//! it can't be used.

use std::env;
use std::path::Path;
use std::process::Command;

const SOURCES: &str = "src/host/provider/ebpf/bpf";

fn main() {
    println!("cargo::rustc-check-cfg=cfg(bpf_object)");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={SOURCES}");
    println!("cargo::rerun-if-env-changed=CLANG");
    let wanted = env::var_os("CARGO_FEATURE_EBPF").is_some()
        && env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux");
    if !wanted {
        return;
    }
    match compile() {
        Ok(()) => println!("cargo::rustc-cfg=bpf_object"),
        Err(reason) => println!(
            "cargo::warning=processes can't be watched by eBPF in this build: {reason}. \
             Install clang (or set CLANG to one) and build again; everything else works without."
        ),
    }
}

fn compile() -> Result<(), String> {
    let clang = env::var("CLANG").unwrap_or_else(|_| "clang".to_owned());
    let target = match env::var("CARGO_CFG_TARGET_ENDIAN").as_deref() {
        Ok("big") => return Err("the programs are written for little-endian machines".to_owned()),
        _ => "bpfel",
    };
    let folder = env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?;
    let object = Path::new(&folder).join("flowtap.bpf.o");
    let output = Command::new(&clang)
        .args(["-target", target, "-mcpu=v3", "-O2", "-g", "-nostdinc"])
        .args(["-Wall", "-Wextra", "-Werror", "-Wno-unused-function"])
        // The object must not tell where it was built.
        .arg("-fdebug-compilation-dir=.")
        .arg("-c")
        .arg(Path::new(SOURCES).join("flowtap.bpf.c"))
        .arg("-o")
        .arg(&object)
        .output()
        .map_err(|error| format!("{clang} could not be run ({error})"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let first = said.lines().find(|line| line.contains("error")).unwrap_or("no message");
    Err(format!("{clang} failed: {first}"))
}
