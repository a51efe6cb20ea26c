"""Rules as they are written: what is wrong with one is said with its name and the field."""

import tomllib

import pytest

from sealwax.errors import ConfigurationError
from sealwax.policy.classify.classifier import Classifier
from sealwax.policy.classify.rule_file import rules_from
from sealwax.policy.rule_error import RuleError
from sealwax.policy.shaping.providers import Providers

GOOD = """
[[rule]]
id = "google.rate"
version = 3
provider = ["google"]
at = ["RCPT", "DOT"]
code = [421, "5xx"]
status = "4.7.28"
text = ["too * fast", "[TS03]"]
pattern = ' \\d{2,3} '
class = "rate"
message = "retry"
after = "10m"
same_ip = true
recipient = { failures = 3, within = "14d" }
path = [{ do = "suspend", scope = "ip", towards = "site", for = "10m", after = "1h" }]
found = 'in (?P<seconds>\\d{1,4}) seconds'
fix = "Wait {seconds} seconds."
"""


def read(text: str):
    return rules_from(tomllib.loads(text), {"google", "yahoo"})


def test_a_rule_is_read_whole():
    (rule,) = read(GOOD)
    assert (rule.id, rule.version, rule.providers) == ("google.rate", 3, ("google",))
    assert (rule.commands, rule.codes, rule.statuses) == (
        {"RCPT", "DOT"}, ("421", "5xx"), {"4.7.28"}
    )  # fmt: skip
    assert rule.phrases == ((b" too ", b" fast "), (b" ts03 ",))
    assert str(rule.message) == "retry after 10m from the same ip"
    assert str(rule.recipient) == "suppress after 3 in 14d"
    assert [str(fate) for fate in rule.path] == ["suspend ip at site for 10m after 1h"]
    assert rule.advice(b" try in 60 seconds ") == "Wait 60 seconds."


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('id = "google.rate"', 'id = "Rate"', "id 'Rate' must be lower case words with dots"),
        ('id = "google.rate"', "", "rule 1: id is missing"),
        ('id = "google.rate"', 'id = "unknown.x"', "id begins with unknown. where fallback"),
        ("version = 3", "version = 0", "google.rate: version must be a number from 1 to 65535"),
        ("version = 3", 'version = "3"', "google.rate: version must be a number"),
        ("version = 3", "version = true", "google.rate: version must be a number"),
        ('"google"]', '"gogle"]', "google.rate: provider 'gogle' is not in shaping.toml"),
        ('"RCPT"', '"RECIPIENT"', "google.rate: at 'RECIPIENT' is none of ROUTE, CONNECT"),
        ('[421, "5xx"]', "[]", "google.rate: code must be a list of codes"),
        ('[421, "5xx"]', "[250]", "google.rate: code 250 is neither 400 to 599"),
        ('[421, "5xx"]', "421", "google.rate: code must be a list of codes"),
        ("4.7.28", "4.7", "google.rate: status '4.7' is no status"),
        ('["too * fast", "[TS03]"]', '"a * b"', "google.rate: text 'a * b' needs a word"),
        ('["too * fast", "[TS03]"]', '"..."', "google.rate: text '...' needs a word"),
        (" \\d{2,3} ", "(a+)+", "google.rate: pattern may take long"),
        (" \\d{2,3} ", "[a", "google.rate: pattern is no regular expression"),
        ('class = "rate"', 'class = "speed"', "google.rate: class 'speed' is none of bad_address"),
        ('class = "rate"', 'class = "unknown"', "google.rate: class unknown is for replies"),
        ('"retry"', '"later"', "google.rate: message 'later' is none of retry, fail, code"),
        ('"retry"', '"fail"', "google.rate: message fails, so there is no next attempt"),
        ('after = "10m"', 'after = "10 minutes"', "google.rate: after '10 minutes' is not a"),
        ('after = "10m"', 'after = "0s"', "google.rate: after must be longer than nothing"),
        ('after = "10m"', 'after = "1m"\nat_once = true', "google.rate: after contradicts at_once"),
        ('{ failures = 3, within = "14d" }', '"drop"', "google.rate: recipient must be keep"),
        ('{ failures = 3, within = "14d" }', "{ failures = 3 }", "google.rate: recipient must be"),
        ("failures = 3", "failures = 1", "google.rate: recipient failures must be 2 or more"),
        ('do = "suspend"', 'do = "stop"', "google.rate: path do 'stop' is none of slow"),
        ('scope = "ip"', 'scope = "host"', "google.rate: path scope 'host' is none of ip"),
        ('towards = "site"', 'at = "site"', "google.rate: path at is none of after, do"),
        ('do = "suspend"', 'do = "take_out"', "google.rate: path what is taken out stays out"),
        (', for = "10m"', "", ""),
        ('do = "suspend", scope = "ip", towards = "site", for = "10m"',
         'do = "slow", scope = "ip"', "google.rate: path slow needs `for`"),
        ("{seconds}", "{minutes}", "google.rate: fix names in braces must be those"),
        ("{seconds}", "{", "google.rate: fix has braces that are no names"),
        ("same_ip = true", "same_ip = 1", "google.rate: same_ip must be true or false"),
        ("same_ip = true", "same_host = true", "google.rate: same_host is not known"),
        ("[[rule]]", "[[rules]]", "rules: is not known"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_the_rule_and_the_field(old, new, problem):
    text = GOOD.replace(old, new)
    assert text != GOOD
    if not problem:
        assert read(text)
        return
    with pytest.raises(RuleError) as refused:
        read(text)
    assert problem in str(refused.value)


def test_neither_a_status_nor_a_code_is_enough():
    bare = GOOD.replace('text = ["too * fast", "[TS03]"]\n', "").replace("pattern", "found2")
    with pytest.raises(RuleError, match=r"text is missing: a status or a code alone says too"):
        read(bare)


def test_an_id_stands_for_one_rule():
    with pytest.raises(RuleError, match=r"google\.rate: id stands for two rules"):
        read(GOOD + GOOD)


FALLBACK = '[[rule]]\nid = "unknown.x"\nversion = 1\nfallback = true\ncode = ["5xx"]\n'


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ('class = "unknown"\nmessage = "code"\nrecipient = "suppress"', "recipient a rule for"),
        ('class = "unknown"\nmessage = "code"\ntext = "word"', "text a rule for unknown replies"),
        ('class = "policy"\nmessage = "code"', "class must be unknown"),
        ('class = "unknown"\nmessage = "fail"', "an unknown reply fails by its code alone"),
    ],
)
def test_a_rule_for_unknown_replies_suppresses_nobody_and_looks_at_nothing(more, problem):
    with pytest.raises(RuleError, match=problem):
        read(FALLBACK + more)


def test_rules_that_leave_a_reply_without_an_answer_are_refused():
    with pytest.raises(ConfigurationError, match="no rule takes unknown replies with code 0"):
        Classifier(read(GOOD), Providers({}, {}))


@pytest.mark.parametrize(
    ("host", "provider"),
    [
        ("gmail-smtp-in.l.google.com", "google"),
        ("GOOGLE.com.", "google"),
        ("relay.google.com", "other"),
        ("mx.relay.google.com", "other"),
        ("notgoogle.com", ""),
        ("google.com.evil.test", ""),
        ("com", ""),
        ("", ""),
        ("192.0.2.1", ""),
        (".", ""),
    ],
)
def test_the_longest_suffix_of_a_host_decides_who_runs_it(host, provider):
    assert Providers({}, {"google.com": "google", "relay.google.com": "other"}).of(host) == provider
