//! Secrets with their name beside them: blanks between, short names, settings as plain
//! words, options that are one program's only.

use super::*;

/// What stands for `{}` below: a password, a key that begins as a path does, and what
/// follows a bot's number.
const PASSWORD: &str = "Zq7SEKRET9qZ";
const KEY: &str = "/JalrXUtnFEMI7SEKRET/bPxRfiCYEXAMPLEKEY0";
const BOT: &str = "AAHdqTcvCH1vGWJxfSeofSAs0K5PSEKRETw";

/// Command lines with their words parted by `|`; the secret stands where `{}` (a password),
/// `{key}` or `{bot}` does.
const FORMS: &str = "\
x|password = \"{}\"
x|password = {}
x|$password = \"{}\"
x|$password  =  '{}'
x|connect; PresharedKey = {}
powershell|-Command|$password = \"{}\"; Connect $password
powershell|-Command|$password|=|{}
x|--password|=|{}
ruby|-e|login(password: '{}')
ruby|-e|login(password: \"{}\", user: 'ann')
ruby|-e|login(password:'{}')
x|--dbpass={}
x|--dbpass|{}
x|--userpass={}
x|--dbpw={}
x|DBPASS={}
x|--preshared-key={}
x|preshared_key={}
x|presharedkey = {}
x|--hmac-key|{}
x|--hmac-key={}
x|AES_KEY={}
x|--ssh-key={}
x|--client-key-data={}
kubectl|config|set|users.ann.client-key-data|{}
curl|-H|Ocp-Apim-Subscription-Key: {}|https://h/
sh|-c|curl -H 'Ocp-Apim-Subscription-Key: {}' https://h/
x|--basic-auth|ann:{}
x|--basic-auth=ann:{}
x|--http-auth|ann:{}
x|--http-auth=ann:{}
x|-http-auth=ann:{}
x|-http-auth|ann:{}
x|--login|ann:{}
x|--login=ann:{}
sudo|--login|mysql|-p{}
curl|-H|Authorization:\\ Bearer\\ {}|https://h/
sh|-c|curl -H Authorization:\\ Bearer\\ {} https://h/
sh|-c|curl -HAuthorization:\\ Bearer\\ {} https://h/
sh|-c|curl --header=Authorization:\\ Basic\\ {} https://h/
x|--api-key={key}
x|--api-key|{key}
x|--secretkey={key}
sh|-c|x --secretkey={key} y
x|X-Api-Key: {key}
wg|set|wg0|private-key|{}
wg|set|wg0|private-key|{key}
sudo|wg|set|wg0|peer|abc|preshared-key|{}
unzip|-P|{}|a.zip
unzip|-P{}|a.zip
ssh-keygen|-t|ed25519|-N|{}|-f|k
ssh-keygen|-p|-P|{}|-N|new|-f|k
rar|a|-hp{}|a.rar|b
xfreerdp3|/u:ann|/p:{}|/v:h
wlfreerdp3|/p:{}
ldappasswd|-s|{}|uid=ann
net|ads|join|-U|ann%{}
net|ads|join|-Uann%{}
crackmapexec|smb|10.0.0.1|-u|ann|-p|{}
twine|upload|-u|ann|-p|{}|dist/a.whl
cqlsh|-u|ann|-p|{}|h
cypher-shell|-u|neo4j|-p|{}
pdftotext|-upw|{}|a.pdf
pdfinfo|-opw|{}|a.pdf
redis-server|--requirepass|{}
redis-server|--masterauth|{}
redis-cli|config|set|requirepass|{}
redis-cli|-h|h|CONFIG|SET|requirepass|{}
sh|-c|redis-cli config set requirepass {}
aws|configure|set|aws_secret_access_key|{}
aws|configure|set|aws_secret_access_key|{key}
aws|configure|set|profile.ann.aws_session_token|{}
npm|config|set|//registry.npmjs.org/:_authToken|{}
npm|config|set|//registry.npmjs.org/:_auth|{}
npm|config|set|//registry.npmjs.org/:_auth={}
npm|config|set|_password|{}
nmcli|dev|wifi|connect|net|password|{}
nmcli|con|modify|net|wifi-sec.psk|{}
sh|-c|nmcli dev wifi connect net password '{}'
wpa_cli|-i|wlan0|set_network|0|psk|\"{}\"
curl|https://api.telegram.org/bot123456789:{bot}/sendMessage
x|bot123456789:{bot}
curl|https://h/v1?key={}
curl|https://h/v1?a=b&key={}&c=d
curl|https://h/v1?auth={}
curl|https://h/cb?state=a&code={}
sh|-c|curl 'https://h/v1?a=b&KEY={}'
";

#[test]
fn no_secret_shows_that_has_its_name_beside_it() {
    for form in FORMS.lines() {
        let filled = form.replace("{key}", KEY).replace("{bot}", BOT).replace("{}", PASSWORD);
        let words: Vec<&str> = filled.split('|').collect();
        let masked = masked(&words);
        assert_eq!(masked[0], words[0], "{form}: the command stays recognisable");
        assert!(masked.iter().all(|word| !word.contains("SEKRET")), "{form}: {masked:?}");
        assert!(masked.iter().any(|word| word.contains(MASK)), "{form}: {masked:?}");
    }
}

#[test]
fn what_is_around_a_named_secret_stays() {
    let cases: &[(&[&str], &[&str])] = &[
        (&["x", "$password = \"a b\"; go"], &["x", "$password = \"***\"; go"]),
        (&["x", "login(password: 'a b', n: 1)"], &["x", "login(password: '***', n: 1)"]),
        (&["x", "--basic-auth=ann:pw"], &["x", "--basic-auth=ann:***"]),
        (&["x", "--login", "ann:pw", "y"], &["x", "--login", "ann:***", "y"]),
        (
            &["sh", "-c", "curl -H Authorization:\\ Bearer\\ abc http://h/"],
            &["sh", "-c", "curl -H Authorization:*** http://h/"],
        ),
        (
            &["aws", "configure", "set", "aws_secret_access_key", "abc", "--profile", "p"],
            &["aws", "configure", "set", "aws_secret_access_key", "***", "--profile", "p"],
        ),
        (&["x", "https://h/?a=b&key=abc&c=d#e"], &["x", "https://h/?a=b&key=***&c=d#e"]),
    ];
    for (args, expected) in cases {
        assert_eq!(masked(args), *expected, "{args:?}");
    }
    let url = format!("https://api.telegram.org/bot123:{BOT}/getMe");
    assert_eq!(masked(&["curl", &url]), ["curl", "https://api.telegram.org/bot123:***/getMe"]);
}

/// What has the same options, names or marks, and no secret.
const LOOK_ALIKES: &str = "\
sort -k 2 -P a
ssh -p 22 -N host
mkdir -p x
cp -p a b
x --auth-method basic --auth basic --http-auth basic --basic-auth htpasswd
x https://h/?country_code=de&sort_key=a&keys=b&author=c&code=404
x a=b&key=c&code=abcdef
x a == b
awk $3 = 5 && $4 == 6
x password == other
x bypass=yes --compass north --compass=north --bypass=10.0.0.0/8
x --api-key=/etc/key.pem --pin=/run/pin
x --private-key=/srv/Keys2026/Production/Main01
x --secretkey=/home/ann/.config/Service/key2026
x --ssh-key ~/.ssh/id_ed25519 --client-key=client.pem --client-key client.pem
wg set wg0 private-key /etc/wireguard/private-key listen-port 51820
wg show wg0 private-key
wg setconf wg0 /etc/wireguard/wg0.conf
ldapsearch -s base -b dc=example -x
unzip -p a.zip b
ssh-keygen -t ed25519 -p -f k
rar a -r a.rar b
xfreerdp3 /u:ann /v:host /port:3389
net ads join -U ann
pdftotext -layout a.pdf b.txt
redis-cli config get requirepass
redis-cli set counter 5
aws configure set region eu-west-1
aws configure get aws_secret_access_key region
npm config set registry https://registry.npmjs.org/
npm token list
nmcli -g 802-11-wireless-security.psk connection show net
nmcli con modify net ipv4.method auto
wpa_cli set_network 0 ssid net
kubectl set env deploy/shop A=b
kubectl get secret shop
bash --login script.sh
sudo --login git clone ann@host:x
x --login https://example.org/
x bot123:abc robot:12
docker run nginx:1.27
x (note: a) (path: 'b')
";

#[test]
fn what_only_looks_like_a_named_secret_stays() {
    for line in LOOK_ALIKES.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        assert_eq!(masked(&words), words, "word by word");
        assert_eq!(masked(&["x", line]), ["x", line], "as one word");
        assert_eq!(masked(&["sh", "-c", line]), ["sh", "-c", line], "as a script");
    }
}
