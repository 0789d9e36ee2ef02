//! Each way in which a secret stands on a command line, and what only looks like one.

use super::*;

const SECRET: &str = "Zq7SEKRET9qZ";

/// Command lines with their words parted by `|`, `{}` where the secret stands.
const FORMS: &str = "\
x|--password|{}
x|--password={}
x|--password|-{}
x|--password|--{}
x|--pass|{}
x|-password={}
x|/password:{}
x|--otp|{}
x|--otp={}
x|--pin|{}
x|--pin={}
x|--so-pin={}
x|PKCS11_PIN={}
x|--passcode|{}
java|-Dpwd={}
java|-Dpassword={}
java|-Dhttp.proxyPassword={}
x|Authorization: Bearer {}
x|Bearer {}
x|bearer {}
sh|-c|x 'Bearer {}' y
x|--header|Authorization: Bearer {}
x|--header=Authorization: Bearer {}
wget|--header=Authorization: Basic {}|http://h/
git|-c|http.extraHeader=Authorization: Bearer {}|fetch
git|-c|http.https://github.com/.extraheader=AUTHORIZATION: basic {}|fetch|origin
sh|-c|git -c http.extraheader='AUTHORIZATION: basic {}' fetch
curl|-HAuthorization: Bearer {}
curl|-b|SESSION={}|http://h/
curl|-bSESSION={}|http://h/
curl|-sbSESSION={}|http://h/
curl|--cookie|SESSION={}
curl|--cookie=SESSION={}
curl|-u|ann:{}
curl|-uann:{}
curl|--user|ann:{}
curl|--user=ann:{}
curl|-x|ann:{}@proxy:3128|http://h/
curl|-xann:{}@proxy:3128|http://h/
curl|-x|http://ann:{}@proxy:3128
curl|--proxy|ann:{}@proxy:3128
curl|--proxy=ann:{}@proxy:3128
curl|--preproxy|socks5h://ann:{}@proxy
curl|-E|cert.pem:{}
curl|-Ecert.pem:{}
curl|--cert|cert.pem:{}
curl|--cert=cert.pem:{}
curl|-s|ann:{}@host/path
wget|ann:{}@example.org:8080/path
sh|-c|curl -s ann:{}@host/path | tar xz
apt-get|--proxy|ann:{}@proxy:3128
docker|run|--sig-proxy|mysql|-uroot|-p{}
x|--no-proxy|sh -c 'mysql -p{}'
env|https_proxy=ann:{}@proxy:3128|pip|install|x
env|HTTPS_PROXY=http://ann:{}@proxy:3128|pip|install|x
http|-a|ann:{}|http://h/
http|-aann:{}|http://h/
http|--auth|ann:{}|http://h/
http|--auth=ann:{}|http://h/
etcdctl|--user|root:{}|get|x
etcdctl|--user=root:{}|get|x
azcopy|copy|/d|https://a.blob.core.windows.net/c?sv=2022-11-02&sig={}
azcopy|copy|https://a.blob.core.windows.net/c?sig={}&se=2026|/d
sh|-c|curl 'https://s3/b/k?X-Amz-Expires=60&X-Amz-Signature={}'
curl|https://storage.googleapis.com/b/k?X-Goog-Signature={}
curl|https://d.cloudfront.net/k?Expires=1&Signature={}&Key-Pair-Id=K
x|DefaultEndpointsProtocol=https;AccountName=a;AccountKey={};EndpointSuffix=core
x|AccountKey={};EndpointSuffix=core
x|Endpoint=sb://h/;SharedAccessKeyName=Root;SharedAccessKey={}
x|BlobEndpoint=https://h/;SharedAccessSignature=sv=2022&sig={}
x|SharedAccessSignature={}
";

#[test]
fn no_form_shows_its_secret() {
    for form in FORMS.lines() {
        let words: Vec<String> = form.split('|').map(|word| word.replace("{}", SECRET)).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let masked = masked(&words);
        assert_eq!(masked.len(), words.len());
        assert_eq!(masked[0], words[0], "{form}: the command stays recognisable");
        assert!(masked.iter().all(|word| !word.contains("SEKRET")), "{form}: {masked:?}");
        assert!(masked.iter().any(|word| word.contains(MASK)), "{form}: {masked:?}");
    }
}

#[test]
fn what_is_around_a_secret_stays() {
    let cases: &[(&[&str], &[&str])] = &[
        (
            &["git", "-c", "http.https://h/.extraheader=AUTHORIZATION: basic abc", "fetch"],
            &["git", "-c", "http.https://h/.extraheader=AUTHORIZATION: ***", "fetch"],
        ),
        (&["curl", "-x", "ann:pw@proxy:3128"], &["curl", "-x", "ann:***@proxy:3128"]),
        (&["curl", "ann:pw@host/path"], &["curl", "ann:***@host/path"]),
        (&["env", "http_proxy=ann:pw@h:1", "x"], &["env", "http_proxy=ann:***@h:1", "x"]),
        (&["curl", "-E", "cert.pem:pw"], &["curl", "-E", "cert.pem:***"]),
        (&["curl", "-bA=b", "http://h/"], &["curl", "-b***", "http://h/"]),
        (&["x", "https://h/c?sv=1&sig=a%2Bb&se=2"], &["x", "https://h/c?sv=1&sig=***&se=2"]),
        (&["x", "AccountName=a;AccountKey=/b==;E=c"], &["x", "AccountName=a;AccountKey=***;E=c"]),
        (&["sh", "-c", "x 'Bearer abc' y"], &["sh", "-c", "x 'Bearer ***' y"]),
        (&["x", "--password", "--user", "ann"], &["x", "--password", "--user", "ann"]),
    ];
    for (args, expected) in cases {
        assert_eq!(masked(args), *expected, "{args:?}");
    }
}

/// Words of which a part is one that names a secret.
const LOOK_ALIKES: &str = "\
gpg --sign --local-user ann --detach-sign a.tar
cosign verify-blob --signature a.sig --key k.pub a.tar
codesign --sign Developer --design modern
minisign -Vm a.tar -x a.sig -P RWQf6LRC
pinky -l ann
ping -c 3 pinterest.example.org
train.py --pin-memory true --optimizer adam --bearing 12
gpio --pin 17 mode out
gcc -DLED_PIN=13 -DNDEBUG -Dpins=4 -c a.c
erl -noshell --otp-release
echo the bearer of news
curl -b cookies.txt -c cookies.txt http://h/
curl --cookie jar.txt http://h/
curl -E /etc/cert.pem https://h/
curl -x proxy:3128 http://h/
curl --proxy http://proxy:3128 http://h/
curl host:8080/@ann
env http_proxy=http://proxy:3128 no_proxy=localhost x
docker run --rm nginx:1.27@sha256:0123456789abcdef
npm install left:npm-pad@1.2.3
scp -3 ann@a:x ann@b:y
rsync -a ann@host:/srv /srv
mail mailto:ann@example.org
sipp sip:ann@example.org
etcdctl --user root get x
http --auth-type basic http://h/
mysql --password --user ann
x https://h/?design=modern&assign=me&sign=no
x volume=/secret:/data:ro
";

#[test]
fn words_that_only_look_like_secrets_stay() {
    for line in LOOK_ALIKES.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        assert_eq!(masked(&words), words, "word by word");
        assert_eq!(masked(&["sh", "-c", line]), ["sh", "-c", line], "as a script");
    }
}

/// Names of secrets, with how they are written before a value.
fn named() -> impl Strategy<Value = Vec<String>> {
    let name = prop::sample::select(vec![
        "password",
        "db-password",
        "passcode",
        "token",
        "otp",
        "totp",
        "pin",
        "user-pin",
        "secret",
        "psk",
        "api-key",
    ]);
    let case = prop::sample::select(vec![str::to_owned, str::to_ascii_uppercase as fn(&str) -> _]);
    (name, case, "[A-Z][A-Za-z0-9]{7,15}", 0..6).prop_map(|(name, case, value, form)| {
        let (name, value) = (case(name), format!("{value}Zq"));
        match form {
            0 => vec![format!("--{name}"), value],
            1 => vec![format!("--{name}={value}")],
            2 => vec![format!("--{name}"), format!("--{value}")],
            3 => vec![format!("{}={value}", name.replace('-', "_"))],
            4 => vec![format!("-D{name}={value}")],
            _ => vec![format!("https://h/?a=b&{name}={value}&c=d")],
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn however_its_name_is_written_a_secret_is_masked(
        before in words(), written in named(), after in words(),
    ) {
        let value = written.last().and_then(|last| last.split(['=', '-', '&']).find(|part| part.ends_with("Zq")));
        let value = value.expect("it is in the last word").to_owned();
        let mut args = before;
        // An option that waits for its value takes the next word, whatever it is.
        args.push("x".to_owned());
        args.extend(written);
        args.extend(after);
        mask_arguments(&mut args);
        prop_assert!(!args.iter().any(|arg| arg.contains(&value)), "{value}: {args:?}");
    }

    #[test]
    fn plain_words_are_never_masked(words in prop::collection::vec("[a-z]{1,12}", 1..8)) {
        // What follows the name of a program that takes a secret so is another matter.
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        prop_assert_eq!(masked(&words), words);
    }
}
