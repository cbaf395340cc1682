//! Programs in C and C++ that use the installed library: compiled without a warning, run, and run again under valgrind.
use glow_runtime::ndarray::{Array4, Axis, concatenate};
use glow_runtime::{Attributes, FitOptions, Glow};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use tempfile::TempDir;

/// What the programs need: the library in a prefix of its own, and a bundle with an attribute.
struct Setting {
    folder: TempDir,
}

impl Setting {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn get() -> &'static Self {
        static SETTING: OnceLock<Setting> = OnceLock::new();
        SETTING.get_or_init(|| {
            let setting = Setting { folder: tempfile::tempdir().unwrap() };
            let package = Path::new(env!("CARGO_MANIFEST_DIR"));
            let built = build();
            let mut install = Command::new("bash");
            install.arg(package.join("install.sh")).arg(setting.path("prefix")).arg(built);
            succeeds(install.output().unwrap());
            let bundle = setting.path("bundle");
            std::fs::create_dir(&bundle).unwrap();
            for entry in package.join("../../models/tests/bundle").read_dir().unwrap() {
                let entry = entry.unwrap();
                std::fs::copy(entry.path(), bundle.join(entry.file_name())).unwrap();
            }
            fit_an_attribute(&bundle);
            setting
        })
    }

    /// Compiles a program against the installed library, as its users do.
    fn compile(&self, source: &str, name: &str, options: &[&str], linked: &[&str]) -> PathBuf {
        let (compiler, standard) = match source.ends_with(".cpp") {
            true => (std::env::var("CXX").unwrap_or("c++".into()), "-std=c++17"),
            false => (std::env::var("CC").unwrap_or("cc".into()), "-std=c11"),
        };
        let program = self.path(name);
        let mut compile = Command::new(compiler);
        compile.args([standard, "-g", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-pthread"]);
        // An absolute path replaces the folder.
        compile.args(options).arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs").join(source));
        compile.arg("-o").arg(&program).args(self.pkg_config(&["--cflags"])).args(linked).arg("-lm");
        succeeds(compile.output().unwrap());
        program
    }

    fn pkg_config(&self, what: &[&str]) -> Vec<String> {
        let mut command = Command::new("pkg-config");
        command.env("PKG_CONFIG_PATH", self.path("prefix/lib/pkgconfig")).args(what).arg("glow");
        succeeds(command.output().expect("pkg-config is installed"))
            .split_whitespace()
            .map(str::to_string)
            .collect()
    }

    /// Dynamically linked, found by its run path.
    fn shared(&self, source: &str, name: &str, options: &[&str]) -> PathBuf {
        let libraries = self.pkg_config(&["--libs"]);
        let run_path = format!("-Wl,-rpath,{}", self.path("prefix/lib").display());
        let linked: Vec<&str> = libraries.iter().map(String::as_str).chain([run_path.as_str()]).collect();
        self.compile(source, name, options, &linked)
    }

    /// Runs a program, checks that its six samples of seed 1 are those of all languages.
    fn run(&self, mut program: Command, name: &str) {
        let samples = self.path(&format!("{name}.samples"));
        let scratch = self.path(&format!("{name}.scratch"));
        std::fs::create_dir(&scratch).unwrap();
        program.arg(self.path("bundle")).arg(&samples).arg(&scratch);
        assert_eq!(succeeds(program.output().unwrap()), "all as it should be\n", "{name}");
        let golden = include_str!("../../../models/tests/samples.sha256");
        let hash: String = Sha256::digest(std::fs::read(samples).unwrap())
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(Some(hash.as_str()), golden.split_whitespace().next());
    }
}

/// Builds the libraries, in the profile of the tests: cargo does so for programs alone. The folder that they lie in.
fn build() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let profile = tests.ancestors().nth(2).unwrap();
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "-p", "glow-capi", "--target-dir"]).arg(profile.parent().unwrap());
    if profile.ends_with("release") {
        build.arg("--release");
    }
    succeeds(build.output().unwrap());
    profile.to_path_buf()
}

/// "Bright", of bright and dark images.
fn fit_an_attribute(bundle: &Path) {
    let glow = Glow::load(bundle).unwrap();
    let images =
        |value: u8| Array4::from_shape_fn((4, 8, 8, 3), |(n, y, x, c)| value + (n * 3 + y + x + c) as u8);
    let latents =
        glow.encode(&concatenate![Axis(0), images(60), images(180)], &Default::default()).unwrap().latents;
    let mut attributes = Attributes::new(glow.manifest());
    let labels = [false, false, false, false, true, true, true, true];
    attributes.fit("Bright", latents.flat().view(), &labels, &FitOptions::default()).unwrap();
    attributes.save(bundle).unwrap();
}

fn succeeds(output: Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}\n{}\n{}", output.status, text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// Whether a tool is there; otherwise the test says that it was not run.
fn there_is(tool: &str, what: &str) -> bool {
    let there = Command::new(tool).arg("--version").output().is_ok_and(|output| output.status.success());
    if !there {
        eprintln!("not run: {what}, as there is no {tool}");
    }
    there
}

#[test]
fn in_c_every_function_does_what_the_header_says() {
    let setting = Setting::get();
    let program = setting.shared("tour.c", "tour", &[]);
    setting.run(Command::new(program), "tour");
}

#[test]
fn in_cpp_threads_share_a_model() {
    let setting = Setting::get();
    let program = setting.shared("threads.cpp", "threads", &[]);
    setting.run(Command::new(program), "threads");
}

#[test]
fn a_fork_is_told_what_to_do() {
    let setting = Setting::get();
    let program = setting.shared("fork.c", "fork", &[]);
    setting.run(Command::new(program), "fork");
}

#[test]
fn the_example_of_the_readme_draws_an_image() {
    let setting = Setting::get();
    let (_, rest) = include_str!("../README.md").split_once("```c\n").unwrap();
    let source = setting.path("example.c");
    std::fs::write(&source, rest.split_once("```").unwrap().0).unwrap();
    let program = setting.shared(source.to_str().unwrap(), "example", &[]);
    let folder = setting.path("example.folder");
    std::fs::create_dir(&folder).unwrap();
    let failed = Command::new(&program).current_dir(&folder).output().unwrap();
    assert!(String::from_utf8_lossy(&failed.stderr).contains("photos.glow"));
    std::os::unix::fs::symlink(setting.path("bundle"), folder.join("photos.glow")).unwrap();
    let image = Command::new(program).current_dir(folder).output().unwrap();
    assert!(image.status.success() && image.stdout.starts_with(b"P6 8 8 255\n"));
    assert_eq!(image.stdout.len(), b"P6 8 8 255\n".len() + 8 * 8 * 3);
}

#[test]
fn the_static_library_needs_what_pkg_config_says() {
    let setting = Setting::get();
    let archive = setting.path("prefix/lib/libglow.a").display().to_string();
    let libraries = setting.pkg_config(&["--static", "--libs"]);
    let others = libraries.iter().filter(|word| *word != "-lglow" && !word.starts_with("-L"));
    let linked: Vec<&str> = [archive.as_str()].into_iter().chain(others.map(String::as_str)).collect();
    let program = setting.compile("tour.c", "static", &[], &linked);
    setting.run(Command::new(program), "static");
}

#[test]
fn the_library_has_its_soname_and_no_other_symbols() {
    let library = Setting::get().path("prefix/lib/libglow.so");
    let dynamic = succeeds(Command::new("objdump").arg("-p").arg(&library).output().unwrap());
    let soname = dynamic.lines().find_map(|line| line.trim().strip_prefix("SONAME")).map(str::trim);
    assert_eq!(soname, Some("libglow.so.0.1"));
    let symbols = Command::new("nm").args(["-D", "--defined-only"]).arg(&library).output().unwrap();
    for line in succeeds(symbols).lines() {
        let name = line.split_whitespace().last().unwrap();
        assert!(name.starts_with("glow_"), "{name} is visible");
    }
}

#[test]
fn valgrind_finds_nothing() {
    if !there_is("valgrind", "the programs under valgrind") {
        return;
    }
    let setting = Setting::get();
    for (source, name) in [("tour.c", "tour-valgrind"), ("threads.cpp", "threads-valgrind")] {
        let program = setting.shared(source, name, &[]);
        let mut valgrind = Command::new("valgrind");
        valgrind.args(["--quiet", "--error-exitcode=99", "--leak-check=full"]);
        valgrind.args(["--show-leak-kinds=definite", "--errors-for-leak-kinds=definite"]);
        let known = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs/valgrind.supp");
        valgrind.arg(format!("--suppressions={}", known.display())).arg(program);
        setting.run(valgrind, name);
    }
}

#[test]
fn the_address_sanitizer_finds_nothing() {
    let setting = Setting::get();
    let compiler = std::env::var("CC").unwrap_or("cc".into());
    let mut compile = Command::new(compiler);
    compile
        .args(["-fsanitize=address,undefined", "-shared", "-x", "c", "/dev/null", "-o"])
        .arg(setting.path("probe"));
    if !compile.output().is_ok_and(|output| output.status.success()) {
        eprintln!("not run: the programs under the address sanitizer, which the compiler does not have");
        return;
    }
    for (source, name) in [("tour.c", "tour-sanitized"), ("threads.cpp", "threads-sanitized")] {
        let program =
            setting.shared(source, name, &["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]);
        setting.run(Command::new(program), name);
    }
}
