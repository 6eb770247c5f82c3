//! Tells the loader where libtorch lies, so that whatever links it runs without `LD_LIBRARY_PATH`.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // Set by torch-sys, which has `links = "tch"`, and only where the feature `train` brings it in.
    if let Ok(folder) = std::env::var("DEP_TCH_LIBTORCH_LIB") {
        println!("cargo::rustc-link-arg=-Wl,-rpath,{folder}");
    }
}
