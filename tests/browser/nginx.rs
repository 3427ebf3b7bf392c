//! nginx in front of a gateway, as docs/configuration.md has it, with pages beside.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fanfare::config::Config;

use crate::browser::PATIENCE;
use crate::support::{TestGateway, free_port};

const CONFIGURATION: &str = include_str!("../../docs/configuration.md");
const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples");
const MISSING: &str = "nginx is missing: run `scripts/setup test`, which unpacks Debian's package";
pub(crate) const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// The block of a language below a heading of a document.
pub(crate) fn block<'d>(document: &'d str, heading: &str, language: &str) -> &'d str {
    let section = document.split_once(&format!("# {heading}\n"));
    let (_, section) = section.unwrap_or_else(|| panic!("no section {heading}"));
    let block = section.split_once(&format!("```{language}\n"));
    let (_, block) = block.unwrap_or_else(|| panic!("no {language} in {heading}"));
    block.split("```").next().expect("the block itself")
}

/// A gateway in production behind nginx, both with the configuration of the
/// documentation; each can be stopped and started. `/pages/` are files.
pub(crate) struct Site {
    /// Where nginx listens.
    pub address: SocketAddr,
    /// Where the gateway does.
    pub gateway: SocketAddr,
    directory: PathBuf,
    toml: String,
    change: fn(&mut Config),
    running: Option<TestGateway>,
    nginx: Option<Child>,
}

impl Site {
    /// A site whose gateway has two shards, this configuration besides, and what `change`
    /// makes of it.
    pub(crate) fn start(toml: &str, change: fn(&mut Config)) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("nginx-{}-{number}", std::process::id()));
        fs::create_dir_all(directory.join("pages")).unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let published = block(CONFIGURATION, "Behind nginx", "toml");
        let secret = format!("jwt_secret = \"{SECRET}\"");
        let toml = published.replace(
            "jwt_secret_file = \"/etc/fanfare/keys/jwt_secret\"",
            &secret,
        ) + toml;
        let mut site = Self {
            address,
            gateway: "127.0.0.1:0".parse().unwrap(),
            toml,
            directory,
            change,
            running: None,
            nginx: None,
        };
        site.start_gateway();
        for example in ["chat.html", "follow.js", "listen.js", "roster.js"] {
            let text = fs::read_to_string(format!("{EXAMPLES}/{example}")).unwrap();
            site.write(example, &text);
        }
        site.write("empty.html", "<!doctype html><title>Empty</title>");
        site.write_configuration();
        site.start_nginx();
        site
    }

    /// Makes `/pages/<name>` this text.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let new = self.directory.join("new");
        fs::write(&new, text).unwrap();
        fs::rename(new, self.directory.join("pages").join(name)).unwrap();
    }

    /// Makes `/pages/<name>` a 404.
    pub(crate) fn remove(&self, name: &str) {
        fs::remove_file(self.directory.join("pages").join(name)).unwrap();
    }

    /// The address of a page.
    pub(crate) fn url(&self, name: &str) -> String {
        format!("http://{}/pages/{name}", self.address)
    }

    fn write_configuration(&self) {
        let directory = self.directory.display();
        let listen = format!(
            "    listen {};\n    location /pages/ {{ root {directory}; }}\n",
            self.address
        );
        let (before, after) = block(CONFIGURATION, "Behind nginx", "nginx")
            .split_once("    listen 80;")
            .expect("it listens on 80");
        let (_, after) = after.split_once('\n').unwrap();
        let server =
            format!("{before}{listen}{after}").replace("127.0.0.1:8080", &self.gateway.to_string());
        let scratch = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("    {name}_temp_path {directory}/{name};\n"))
            .concat();
        let configuration = format!(
            "daemon off;\nmaster_process off;\npid {directory}/pid;\nerror_log {directory}/error.log;\n\
             events {{ worker_connections 256; }}\n\
             http {{\n    access_log off;\n{scratch}\
             \x20   types {{ text/html html; text/javascript js; }}\n    default_type text/plain;\n{server}}}\n"
        );
        fs::write(self.directory.join("nginx.conf"), configuration).unwrap();
    }

    pub(crate) fn start_nginx(&mut self) {
        // Debian's is where not everybody looks for programs.
        let unpacked = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../nginx/usr/sbin/nginx");
        let program = ["/usr/sbin/nginx".into(), unpacked]
            .into_iter()
            .find(|program| program.exists());
        let mut nginx = Command::new(program.expect(MISSING))
            .arg("-e")
            .arg(self.directory.join("error.log"))
            .arg("-c")
            .arg(self.directory.join("nginx.conf"))
            .spawn()
            .expect(MISSING);
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(self.address).is_err() {
            let ended = nginx.try_wait().unwrap();
            assert!(
                ended.is_none() && Instant::now() < deadline,
                "nginx does not start: {}",
                self.error_log()
            );
            thread::sleep(Duration::from_millis(10));
        }
        self.nginx = Some(nginx);
    }

    /// Stops nginx as its service does.
    pub(crate) fn stop_nginx(&mut self) {
        let mut nginx = self.nginx.take().expect("it runs");
        let kill = Command::new("kill").arg(nginx.id().to_string()).status();
        assert!(kill.unwrap().success());
        nginx.wait().unwrap();
    }

    /// Starts the gateway, where it was before.
    pub(crate) fn start_gateway(&mut self) {
        let address = self.gateway;
        let change = self.change;
        let gateway = TestGateway::from_toml(&self.toml, |config| {
            config.server.listen = vec![address.into()];
            config.server.shards = 2;
            change(config);
        });
        self.gateway = gateway.address;
        self.running = Some(gateway);
    }

    pub(crate) fn stop_gateway(&mut self) {
        self.running.take().expect("it runs").stop();
    }

    /// What nginx complains about.
    pub(crate) fn error_log(&self) -> String {
        fs::read_to_string(self.directory.join("error.log")).unwrap_or_default()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(mut nginx) = self.nginx.take() {
            let _ = nginx.kill();
            let _ = nginx.wait();
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}
