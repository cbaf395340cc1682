//! `glow page`
use crate::model::BundleArgument;
use crate::outputs::{print, say};
use anyhow::Result;
use clap::Args;
use glow_page::{find_onnxruntime_web, write_site};
use std::path::PathBuf;

#[derive(Args)]
#[command(after_help = "Example:\n  glow page --out site/\n  \
    python3 -m http.server --directory site 8000    and open http://localhost:8000\n\n\
    The folder goes to any host of static files: the model runs in the visitor's browser, and nothing that a\n\
    visitor opens is sent anywhere. README.txt in it names the two headers that let the browser use threads.")]
pub struct Arguments {
    #[command(flatten)]
    bundle: BundleArgument,
    /// The folder to write: new, empty, or an older site, which is replaced
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Scores by which the page tells how typical an image is, a file of `glow score --save-reference`
    /// [default: reference.json of the bundle, if it is there]
    #[arg(long, value_name = "FILE.json")]
    reference: Option<PathBuf>,
    /// onnxruntime-web's folder `dist` [default: onnxruntime-web beside the program, the checkout's]
    #[arg(long, value_name = "DIR")]
    onnxruntime_web: Option<PathBuf>,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let library = find_onnxruntime_web(arguments.onnxruntime_web.as_deref())?;
    let bundle = arguments.bundle.model()?.on_disk()?;
    let site = write_site(&bundle.path, &library, arguments.reference.as_deref(), &arguments.out)?;
    say(&format!("wrote {} files, {:.1} MB", site.files, site.bytes as f64 / 1e6));
    print(&arguments.out.join("index.html").display().to_string())
}
