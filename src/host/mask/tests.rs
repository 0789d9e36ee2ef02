use super::*;
use proptest::prelude::*;

mod forms;
mod named;

fn masked(args: &[&str]) -> Vec<String> {
    let mut args: Vec<String> = args.iter().map(ToString::to_string).collect();
    mask_arguments(&mut args);
    args
}

#[test]
fn secrets_are_masked_and_commands_stay_recognisable() {
    let cases: &[(&[&str], &[&str])] = &[
        (&["x", "--password", "hunter2", "y"], &["x", "--password", "***", "y"]),
        (&["x", "--password=hunter2"], &["x", "--password=***"]),
        (&["x", "--db-password", "two words"], &["x", "--db-password", "***"]),
        (
            &["x", "--token", "abc", "--secret=def", "--api-key", "ghi"],
            &["x", "--token", "***", "--secret=***", "--api-key", "***"],
        ),
        (
            &["/usr/bin/mysql", "-uroot", "-phunter2", "shop"],
            &["/usr/bin/mysql", "-uroot", "-p***", "shop"],
        ),
        (&["sudo", "mysqldump", "-phunter2"], &["sudo", "mysqldump", "-p***"]),
        (&["mysql", "-p", "shop"], &["mysql", "-p", "shop"]),
        (&["mysql", "--password", "-u", "root"], &["mysql", "--password", "-u", "root"]),
        (&["ssh", "-p2222", "host"], &["ssh", "-p2222", "host"]),
        (&["sshpass", "-p", "hunter2", "ssh", "h"], &["sshpass", "-p", "***", "ssh", "h"]),
        (&["curl", "-u", "ann:hunter2", "http://h/"], &["curl", "-u", "ann:***", "http://h/"]),
        (&["curl", "-sSu", "ann:hunter2"], &["curl", "-sSu", "ann:***"]),
        (&["curl", "-uann:hunter2"], &["curl", "-uann:***"]),
        (&["curl", "--user=ann:hunter2"], &["curl", "--user=ann:***"]),
        (&["curl", "-u", "ann"], &["curl", "-u", "ann"]),
        (&["curl", "-H", "Authorization: Bearer abc"], &["curl", "-H", "Authorization: ***"]),
        (&["curl", "-HCookie: a=b; c=d"], &["curl", "-HCookie: ***"]),
        (&["curl", "-H", "x-api-key:abc"], &["curl", "-H", "x-api-key:***"]),
        (
            &["curl", "-d", "user=ann&password=hunter2&x=1"],
            &["curl", "-d", "user=ann&password=***&x=1"],
        ),
        (
            &["curl", "-d", r#"{"user":"ann","password":"hun,\"ter","n":1}"#],
            &["curl", "-d", r#"{"user":"ann","password":"***","n":1}"#],
        ),
        (&["curl", "https://h/p?token=abc&x=1"], &["curl", "https://h/p?token=***&x=1"]),
        (&["git", "clone", "https://ann:hunter2@h/r"], &["git", "clone", "https://ann:***@h/r"]),
        (
            &["git", "clone", "https://0123456789abcdef0123@h/r"],
            &["git", "clone", "https://***@h/r"],
        ),
        (&["x", "postgres://ann:hun/ter2@h/db"], &["x", "postgres://ann:***@h/db"]),
        (
            &["env", "AWS_SECRET_ACCESS_KEY=abc", "NPM_TOKEN=x", "A=b", "prog"],
            &["env", "AWS_SECRET_ACCESS_KEY=***", "NPM_TOKEN=***", "A=b", "prog"],
        ),
        (
            &["docker", "run", "-e", "MYSQL_ROOT_PASSWORD=a&b c", "mysql"],
            &["docker", "run", "-e", "MYSQL_ROOT_PASSWORD=***", "mysql"],
        ),
        (&["docker", "run", "--env=PGPASSWORD=x"], &["docker", "run", "--env=PGPASSWORD=***"]),
        (
            &["docker", "login", "-u", "ann", "-p", "hunter2"],
            &["docker", "login", "-u", "ann", "-p", "***"],
        ),
        (
            &["java", "-Dspring.datasource.password=x", "-jar", "a.jar"],
            &["java", "-Dspring.datasource.password=***", "-jar", "a.jar"],
        ),
        (&["x", "Server=h;Password=a;Database=d"], &["x", "Server=h;Password=***;Database=d"]),
        (&["sh", "-c", "mysql -phunter2 shop; ls -p"], &["sh", "-c", "mysql -p*** shop; ls -p"]),
        (&["sh", "-c", "x --password='two words' y"], &["sh", "-c", "x --password=*** y"]),
        (
            &["sh", "-c", "curl -H 'Authorization: Bearer abc' http://h/"],
            &["sh", "-c", "curl -H 'Authorization: ***' http://h/"],
        ),
        (
            &["ssh", "h", "sh -c \"mysql -phunter2 'a b'\""],
            &["ssh", "h", "sh -c \"mysql -p*** 'a b'\""],
        ),
        (&["sh", "-c", "PGPASSWORD=abc psql -h db"], &["sh", "-c", "PGPASSWORD=*** psql -h db"]),
        (&["x", "-----BEGIN RSA PRIVATE KEY-----\nMIIE"], &["x", "***"]),
        (&["x", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln"], &["x", "***"]),
        (&["x", "key AKIAABCDEFGHIJKLMNOP."], &["x", "key ***"]),
        (&["x", "ghp_0123456789abcdefABCDEF0123456789abcd"], &["x", "***"]),
        (&["redis-cli", "-a", "hunter2", "ping"], &["redis-cli", "-a", "***", "ping"]),
        (&["smbclient", "-U", "ann%hunter2", "//h/s"], &["smbclient", "-U", "ann%***", "//h/s"]),
        (&["openssl", "rsa", "-passin", "pass:abc"], &["openssl", "rsa", "-passin", "***"]),
        (&["beam.smp", "-setcookie", "ABCDEF"], &["beam.smp", "-setcookie", "***"]),
        (&["x", "--password", "***"], &["x", "--password", "***"]),
    ];
    for (args, expected) in cases {
        assert_eq!(masked(args), *expected, "{args:?}");
    }
}

/// Command lines as they are seen on servers and desktops, one a line.
const ORDINARY: &str = "\
/sbin/init
/usr/lib/systemd/systemd --switched-root --system --deserialize 31
/usr/lib/systemd/systemd-journald
/usr/sbin/sshd -D -o KexAlgorithms=curve25519-sha256
sshd: root@pts/0
/usr/sbin/cron -f -P
/usr/sbin/nginx -g daemon on; master_process on;
nginx: worker process
postgres: 15/main: walwriter
postgres: shop shopdb 10.0.0.7(51522) idle
/usr/sbin/mysqld --user=mysql --pid-file=/run/mysqld/mysqld.pid --port=3306
mysql -h db -P 3306 -u root -p shop
psql -h db -p 5432 -U shop -c select 1
redis-server 127.0.0.1:6379
java -Xmx512m -Djava.io.tmpdir=/tmp -cp /opt/app/lib/* org.example.Main --server.port=8080
python3 -m http.server 8000 --bind 127.0.0.1
python3 -c import socket; s = socket.socket(); s.connect(('10.0.0.1', 80))
node /srv/app/server.js --max-old-space-size=512
curl -sSfL -o /tmp/x https://example.org:8443/a/b?c=d&e=f#g
curl -u ann -X POST -H Content-Type: application/json http://h/
wget -q --timeout=5 https://example.org/@user/file
dig +short @1.1.1.1 example.org A
ping -c1 -W 1 2001:db8::1
ssh -p 2222 -i /home/ann/.ssh/id_ed25519 ann@host
scp -P 22 ann@host:/var/log/syslog .
git clone git@example.org:group/project.git
git push https://example.org/group/project.git main
docker run --rm -p 80:80 -v /srv:/data nginx:1.27@sha256:0123456789abcdef0123456789abcdef
docker exec -it web sh -c ls -l /proc
containerd-shim-runc-v2 -namespace moby -id 0123456789abcdef -address /run/containerd/containerd.sock
/usr/bin/kubelet --config=/var/lib/kubelet/config.yaml --authentication-token-webhook=true
kube-apiserver --service-account-key-file=/etc/kubernetes/pki/sa.pub --enable-bootstrap-token-auth=true --token-auth-file=/etc/tokens
kubectl get secret -n shop -o yaml
etcd --cert-file=/etc/etcd/server.crt --key-file=/etc/etcd/server.key
tar -czpf backup.tgz --exclude=./cache /etc
rsync -aP --password-file=/etc/rsync.pw host::module /srv
mkdir -p /srv/mysql /srv/secret
grep -rn password /etc
find / -name *token* -type f
make -j8 CC=clang CFLAGS=-O2
cargo test --lib host::provider
gcc -DNDEBUG -O2 -o a a.c -lm
openssl s_client -connect example.org:443 -servername example.org
ansible-playbook --private-key ~/.ssh/id_rsa --vault-password-file vault.txt site.yml
vim /etc/passwd
tail -f /var/log/auth.log
nc -lvp 4444
socat TCP-LISTEN:80,fork TCP:10.0.0.1:8080
hping3 --flood -S -p 80 10.0.0.1
/usr/lib/firefox/firefox -contentproc -childID 3 -isForBrowser -prefsLen 34567
xmrig -o pool.example.org:3333 -t 4 --donate-level 1
llama-server --max-tokens 512 --tokenizer /m/tokenizer.json
env PWD=/home/ann OLDPWD=/ HOME=/home/ann true
tmux new-session -d -s work
";

#[test]
fn ordinary_command_lines_are_unchanged() {
    assert!(ORDINARY.lines().count() >= 50);
    for line in ORDINARY.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        assert_eq!(masked(&words), words, "word by word");
        assert_eq!(masked(&["sh", "-c", line]), ["sh", "-c", line], "as a script");
    }
}

/// Words that rules look for, in any order and mixed with anything.
fn words() -> impl Strategy<Value = Vec<String>> {
    let known = prop::sample::select(vec![
        "--password",
        "--password=",
        "-p",
        "-u",
        "-H",
        "mysql",
        "curl",
        "sh",
        "-c",
        "Authorization:",
        "token=",
        "https://a:",
        "@h/",
        "eyJhbGciOiJIUzI1NiJ9",
        ".",
        "AKIAABCDEFGHIJKLMNOP",
        "\"",
        "'",
        "\\",
        " ",
        ";",
        "&",
        "=",
        ":",
        "://",
        "***",
        "-----BEGIN",
        "SECRET",
        "{\"password\":",
        "$",
        "\u{e9}",
        "x",
        "docker login",
        "-su",
        "password = ",
        "(token: ",
        "==",
        "?key=",
        "&code=",
        "--login",
        "-http-auth=",
        "wg set",
        "nmcli add",
        "psk",
        "\\ ",
        "bot1:",
    ]);
    let part = prop_oneof![3 => known.prop_map(str::to_owned), 1 => "\\PC{0,6}"];
    let word = prop::collection::vec(part, 0..8).prop_map(|parts| parts.concat());
    prop::collection::vec(word, 0..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn masking_twice_is_masking_once(mut args in words()) {
        mask_arguments(&mut args);
        let once = args.clone();
        mask_arguments(&mut args);
        prop_assert_eq!(args, once);
    }

    #[test]
    fn masked_text_is_at_most_three_times_as_long(args in words()) {
        let bytes = |args: &[String]| args.iter().map(String::len).sum::<usize>();
        let mut masked = args.clone();
        mask_arguments(&mut masked);
        prop_assert_eq!(masked.len(), args.len());
        prop_assert!(bytes(&masked) <= 3 * bytes(&args));
    }

    #[test]
    fn a_password_never_shows_whatever_stands_around_it(
        before in words(), word in "[A-Za-z0-9]{8,20}", after in words(), form in 0..4,
    ) {
        let secret = format!("Zq{word}Zq");
        let mut args = before;
        match form {
            0 => args.extend(["--password".to_owned(), secret.clone()]),
            1 => args.push(format!("--token={secret}")),
            2 => args.push(format!("API_SECRET={secret}")),
            _ => args.push(format!("https://ann:{secret}@host/")),
        }
        args.extend(after);
        // A word that waits for a value takes the option for it only when it looks like none.
        mask_arguments(&mut args);
        prop_assert!(!args.iter().any(|arg| arg.contains(&secret)), "{args:?}");
    }
}
