"""nginx with nchan: one worker, messages in memory."""

import subprocess
from pathlib import Path

PEERS = Path(__file__).resolve().parent.parent
HOME = PEERS / ".installed" / "nchan"
NGINX = HOME / "usr/sbin/nginx"

CONFIGURATION = """\
daemon off;
worker_processes {cores};
worker_rlimit_nofile 20000;
pid {scratch}/nginx.pid;
error_log stderr warn;
load_module {module};
events {{ worker_connections 20000; }}
http {{
    access_log off;
    client_body_temp_path {scratch}/body;
    proxy_temp_path {scratch}/proxy;
    fastcgi_temp_path {scratch}/fastcgi;
    uwsgi_temp_path {scratch}/uwsgi;
    scgi_temp_path {scratch}/scgi;
    tcp_nodelay on;
    nchan_shared_memory_size 1G;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location ~ ^/sub/(.+)$ {{
            nchan_subscriber websocket;
            nchan_channel_id $1;
            nchan_subscriber_first_message newest;
        }}
        location ~ ^/pub/(.+)$ {{
            nchan_publisher websocket;
            nchan_channel_id $1;
            # A subscriber that lags behind by more than is kept loses messages; 10 by default.
            nchan_message_buffer_length 100000;
        }}
    }}
}}
"""


def version():
    shown = subprocess.run([NGINX, "-v"], capture_output=True, text=True)
    return f"nchan 1.3.6, {shown.stderr.strip().rpartition(' ')[2]}"


def command(port, scratch, cores):
    configuration = scratch / "nginx.conf"
    configuration.write_text(CONFIGURATION.format(
        port=port, scratch=scratch, cores=cores,
        module=HOME / "usr/lib/nginx/modules/ngx_nchan_module.so",
    ))
    # The error log of the time before the configuration is read has a fixed path otherwise.
    return [NGINX, "-p", scratch, "-c", configuration, "-e", scratch / "start.log"], {}
