"""Correct and wrong files, for the parser and for the schema."""

from __future__ import annotations

from typing import Final

RULE: Final = '[[auth.rules]]\nauthenticated = true\nrepositories = ["*"]\nallow = ["pull"]\n'
USERS: Final = '[auth.htpasswd]\nfile = "x"\n'

RIGHT: Final[dict[str, str]] = {
    "nothing": "",
    "a store": '[registry]\nkind = "store"\ndata = "x"\ndurability = "off"\ngrace = "10m"\ncollect-every = 0',
    "memory": '[registry]\nkind = "memory"\nmemory-limit = "50%"\nimmutable-tags = true',
    "sizes": '[registry]\nkind = "memory"\nmemory-limit = 1000',
    "TLS": '[server]\ntls-cert = "cert.pem"\ntls-key = "key.pem"\ntls-client-ca = { env = "PATH" }',
    "proxies": '[server]\ntrusted-proxies = ["10.0.0.0/8", "::1"]\nproxy-headers = "forwarded"',
    "durations": "[server]\ngraceful-timeout = 0.5",
    "options": "[options]\nmax-list-page-size = 0\nignore-pagination = true",
    "a text from elsewhere": '[server]\nhost = { env = "PATH" }',
    "read-only": '[registry]\nkind = "read-only"\nbackend = { kind = "memory" }',
    "no-delete": '[registry]\nkind = "no-delete"\nbackend = { kind = "memory" }',
    "select": '[registry]\nkind = "select"\ninclude = ["a/*"]\nexclude = []\nbackend = { kind = "memory" }',
    "sub": '[registry]\nkind = "sub"\nprefix = "a/b-c"\nbackend = { kind = "memory" }',
    "debug": '[registry]\nkind = "debug"\nname = "x"\nbackend = { kind = "memory" }',
    "client": '[registry]\nkind = "client"\nurl = "https://a.example"\nusername = "x"\npassword = { env = "PATH" }',
    "client with a token server": '[registry]\nkind = "client"\nurl = "https://a.example"\n'
    'token-hosts = ["b.example", "c.example:5001", "[::1]:80"]',
    "cache": '[registry]\nkind = "cache"\nmax-size = "1GiB"\ntag-lifetime = "5m"\nupstream-timeout = 1\n'
    'retry-after = "1s"\ndownloads = "y"\ndownloads-size = "2GiB"\n'
    'local-repositories = ["team/*"]\nlocal = { kind = "store", data = "x" }\n'
    'upstream = { kind = "memory" }\n'
    'hosts = { "docker.io" = { kind = "memory" } }',
    "unify": '[registry]\nkind = "unify"\nreads = "concurrent"\nwrites = "first"\n'
    'backends = [{ kind = "memory" }, { kind = "immutable", backend = { kind = "memory" } }]',
    "users and rules": f"{USERS}{RULE}",
    "API keys": '[auth]\napi-keys = true\n[registry]\nkind = "store"\ndata = "x"',
    "API keys of the default store": "[auth]\napi-keys = true",
    "API keys of a cache": '[auth]\napi-keys = true\n[registry]\nkind = "cache"\nupstream = { kind = "memory" }\n'
    'local = { kind = "store", data = "x" }',
    "API keys, users and rules": f"[auth]\napi-keys = true\n{USERS}{RULE}",
    "a registry for everybody": '[[auth.rules]]\nanonymous = true\nrepositories = ["*"]\nallow = ["pull"]',
    "all keys of auth": '[auth]\nrealm = "https://a.example/v2/token"\nservice = { env = "PATH" }\n'
    'token-lifetime = "1h"\ntoken-keys = ["q8Zk1mN4vR7xT0wY3bF6hJ9sD2gL5pCe"]\n'
    f'{USERS}[auth.groups]\ndev = ["alice", "bot[1]"]\nnobody = []\n'
    '[[auth.rules]]\nusers = ["bob"]\ngroups = ["dev"]\nauthenticated = false\nanonymous = true\n'
    'repositories = ["a/*", "b"]\nallow = ["pull", "push", "create", "delete"]\ntags = ["v*"]',
}

SERVER: Final = '[auth.token-server]\nrealm = "https://a.example/token"\nservice = "a"\nissuer = "b"\n'
OIDC: Final = '[auth.oidc.ci]\nissuer = "https://a.example"\naudience = "b"\n'
CLAIMS: Final = 'claims = { ref = "refs/heads/main", org = "*" }\n'

RIGHT.update(
    {
        "a token server with keys": f'{SERVER}jwks = "x"',
        "a token server with a URL": f'{SERVER}jwks-url = "https://a.example/keys?x=1"\nca = "x"',
        "a token server with certificates": f'{SERVER}certificates = "x"\nalgorithms = ["RS256", "ES512", "EdDSA"]',
        "a token server and rules": f'{SERVER}jwks = "x"\n{RULE}',
        "a token server, users and rules": f'{SERVER}jwks = "x"\n{USERS}{OIDC}{RULE}',
        "a provider": f"{OIDC}{RULE}",
        "a side-car": f'{OIDC}jwks-url = "http://127.0.0.1:8080/keys"\n{RULE}',
        "all keys of a provider": f'{OIDC}username = "sub"\ngroups = "groups"\nrequire = {{ org = "a*" }}\nca = "x"\n'
        f'algorithms = ["PS256"]\njwks = "x"\n[auth.oidc.other-1_x]\nissuer = "http://[::1]:80"\n'
        f'audience = {{ env = "PATH" }}\n{RULE}{CLAIMS}',
        "an issuer that is no URL": f'[auth.oidc.a]\nissuer = "a name"\naudience = "b"\njwks = "x"\n{RULE}',
    }
)

# The file, the line of the mistake, its key, and a part of the message that says what is right.
WRONG: Final[dict[str, tuple[str, int, str, str]]] = {
    "an unknown table": ("[sever]\nport = 1", 1, "sever", "unknown key; did you mean server?"),
    "a mistake in one of several hosts": (
        '[registry]\nkind = "cache"\nlocal = { kind = "memory" }\n[registry.hosts."docker.io"]\nkind = "memroy"',
        5,
        "registry.hosts.docker.io.kind",
        "unknown kind; did you mean memory?",
    ),
    "an unknown key": ("\n# a\n[server]\nprot = 1", 4, "server.prot", "unknown key; did you mean port?"),
    "a flag's name with underscores": (
        "[options]\nmax_list_page_size = 1",
        2,
        "options.max_list_page_size",
        "did you mean max-list-page-size?",
    ),
    "a key that is like no other": ("[options]\nxyz = 1", 2, "options.xyz", "must be one of disable-referrers-api, "),
    "a key of another kind": ('[registry]\nkind = "memory"\ndata = "x"', 3, "registry.data", "unknown key"),
    "a text for a number": ('[server]\nport = "5000"', 2, "server.port", "must be a whole number, not a string"),
    "a fraction for a number": ("[server]\nworkers = 1.5", 2, "server.workers", "must be a whole number, not 1.5"),
    "true for a number": ("[server]\nworkers = true", 2, "server.workers", "must be a whole number, not true"),
    "a port that is too high": ("[server]\nport = 70000", 2, "server.port", "must be 65535 or less, not 70000"),
    "no workers": ("[server]\nworkers = 0", 2, "server.workers", "must be 1 or more, not 0"),
    "a text for a truth": (
        '[server]\naccess-log = "yes"',
        2,
        "server.access-log",
        "must be true or false, not a string",
    ),
    "a number for a truth": ("[server]\naccess-log = 1", 2, "server.access-log", "must be true or false, not 1"),
    "a number for a text": ("[server]\nhost = 5", 2, "server.host", 'must be a string, { env = "NAME" } or'),
    "a table with both": ('[server]\nhost = { env = "A", file = "B" }', 2, "server.host", "must be a string, { env"),
    "a date for a text": ("[options]\ndebug-id = 2026-01-01", 2, "options.debug-id", "must be a string"),
    "a value that is not a choice": (
        '[server]\nlog-level = "warn"',
        2,
        "server.log-level",
        "must be one of debug, info, warning, error; did you mean warning?",
    ),
    "a duration": (
        '[server]\ngraceful-timeout = "5 minutes"',
        2,
        "server.graceful-timeout",
        'must be a duration, such as "500ms"',
    ),
    "a negative duration": ("[server]\ngraceful-timeout = -1", 2, "server.graceful-timeout", "must be a duration"),
    "a duration that is true": (
        "[server]\ngraceful-timeout = true",
        2,
        "server.graceful-timeout",
        "must be a duration",
    ),
    "no number": ("[server]\ngraceful-timeout = nan", 2, "server.graceful-timeout", "must be a duration"),
    "a size": (
        '[registry]\nkind = "memory"\nmemory-limit = "lots"',
        3,
        "registry.memory-limit",
        'must be a size, such as "512MiB"',
    ),
    "a size with a fraction": ('[registry]\nkind = "memory"\nmemory-limit = 1.5', 3, "registry.memory-limit", "a size"),
    "more than all of it": ('[registry]\nkind = "memory"\nmemory-limit = "101%"', 3, "registry.memory-limit", "a size"),
    "no kind": ('[registry]\ndata = "x"', 1, "registry.kind", "is missing; must be one of store, memory, read-only"),
    "an unknown kind": (
        '[registry]\nkind = "read_only"',
        2,
        "registry.kind",
        "unknown kind; did you mean read-only?",
    ),
    "a text for a table": ('server = "x"', 1, "server", "must be a table"),
    "a text for a registry": ('registry = "store"', 1, "registry", "must be a table"),
    "nothing behind": ('[registry]\nkind = "immutable"', 1, "registry.backend", "is missing"),
    "one of several": (
        '[registry]\nkind = "unify"\nbackends = [{ kind = "memory" }]',
        3,
        "registry.backends",
        "must have 2 or more entries",
    ),
    "a text for a list": (
        '[registry]\nkind = "select"\ninclude = "a"\nbackend = { kind = "memory" }',
        3,
        "registry.include",
        "must be a list in brackets",
    ),
    "an empty list": (
        '[registry]\nkind = "select"\ninclude = []\nbackend = { kind = "memory" }',
        3,
        "registry.include",
        "must have 1 or more entries",
    ),
    "a pattern that is none": (
        '[registry]\nkind = "select"\ninclude = ["a", 5]\nbackend = { kind = "memory" }',
        3,
        "registry.include[1]",
        "must be a string in quotes, not 5",
    ),
    "a prefix": (
        '[registry]\nkind = "sub"\nprefix = "../a"\nbackend = { kind = "memory" }',
        3,
        "registry.prefix",
        "must be the beginning of a repository name",
    ),
    "deep inside": (
        (
            '[registry]\nkind = "unify"\n[[registry.backends]]\nkind = "memory"\n\n[[registry.backends]]\n'
            'kind = "debug"\n[registry.backends.backend]\nkind = "memory"\ngrace = 5'
        ),
        10,
        "registry.backends[1].backend.grace",
        "unknown key",
    ),
    "a user without a password": (
        '[registry]\nkind = "client"\nurl = "https://a.example"\nusername = "user"',
        1,
        "registry",
        "`username` is set without `password`: set both, or neither",
    ),
    "a password without a user": (
        '[registry]\nkind = "client"\nurl = "https://a.example"\npassword = { env = "PATH" }',
        1,
        "registry",
        "`password` is set without `username`: set both, or neither",
    ),
    "a URL of another scheme": (
        '[registry]\nkind = "client"\nurl = "htps://a.example"',
        3,
        "registry.url",
        "begins with neither https:// nor http://",
    ),
    "a URL with a password in it": (
        '[registry]\nkind = "client"\nurl = "https://user:secret@a.example"',
        3,
        "registry.url",
        "set them separately, as `username` and `password`",
    ),
    "a URL with a query": (
        '[registry]\nkind = "client"\nurl = "https://a.example?token=secret"',
        3,
        "registry.url",
        "has a query or a fragment",
    ),
    "a token host that is a URL": (
        '[registry]\nkind = "client"\nurl = "https://a.example"\ntoken-hosts = ["https://b.example"]',
        4,
        "registry.token-hosts[0]",
        "must be the name of a host",
    ),
    "a URL for a table": (
        '[registry]\nkind = "read-only"\nbackend = "https://user:secret@a.example"',
        3,
        "registry.backend",
        "must be a table, not a string",
    ),
    "a URL for a host": (
        (
            '[registry]\nkind = "cache"\nlocal = { kind = "memory" }\n'
            '[registry.hosts."https://user:secret@a.example"]\nkind = "memory"'
        ),
        4,
        "registry.hosts.https://***@a.example",
        "must be the host name of a registry, such as docker.io",
    ),
    "after a list of several lines": (
        '[registry]\nkind = "select"\ninclude = [\n  "a",\n]\n\n# b\nexcept = 1\nbackend = { kind = "memory" }',
        8,
        "registry.except",
        "did you mean exclude?",
    ),
    "after a text that looks like TOML": (
        '[server]\nhost = """\nport = 1\n"""\nport = 70000',
        5,
        "server.port",
        "65535",
    ),
    "auth without rules": (USERS, 1, "auth", "has no rules, so nobody may do anything; add [[auth.rules]] with"),
    "auth with an empty list of rules": ("[auth]\nrules = []", 1, "auth", "has no rules, so nobody may do anything"),
    "rules for users, but no users": (
        f"# a\n{RULE}",
        2,
        "auth",
        'add [auth.htpasswd] with file = "htpasswd", or a rule with anonymous = true',
    ),
    "a file of passwords without a name": (f"[auth.htpasswd]\n{RULE}", 1, "auth.htpasswd.file", "is missing"),
    "an unknown key of auth": (f"[auth]\nrelm = 1\n{USERS}{RULE}", 2, "auth.relm", "did you mean realm?"),
    "an unknown key of the file of passwords": (
        f"{USERS}files = 1\n{RULE}",
        3,
        "auth.htpasswd.files",
        "did you mean file?",
    ),
    "an unknown key of a rule": (f"{USERS}{RULE}{RULE}user = []", 11, "auth.rules[1].user", "did you mean users?"),
    "a rule for nobody": (
        f'{USERS}{RULE}[[auth.rules]]\nrepositories = ["*"]\nallow = ["pull"]',
        7,
        "auth.rules[1]",
        "selects nobody: set `users`, `groups`, `authenticated = true` or `anonymous = true`",
    ),
    "a rule that is for nobody by its words": (
        f'{USERS}[[auth.rules]]\nauthenticated = false\nrepositories = ["*"]\nallow = ["pull"]',
        3,
        "auth.rules[0]",
        "selects nobody",
    ),
    "a rule without repositories": (
        f'{USERS}[[auth.rules]]\nusers = ["*"]\nallow = ["pull"]',
        3,
        "auth.rules[0].repositories",
        "is missing",
    ),
    "a rule without actions": (
        f"{USERS}{RULE}".replace('"pull"', ""),
        6,
        "auth.rules[0].allow",
        "must have 1 or more entries",
    ),
    "an unknown action": (
        f"{USERS}{RULE}".replace('"pull"', '"pul"'),
        6,
        "auth.rules[0].allow[0]",
        "must be one of pull, push, create, delete; did you mean pull?",
    ),
    "a text for several repositories": (
        f"{USERS}{RULE}".replace('["*"]', '"*"'),
        5,
        "auth.rules[0].repositories",
        "must be a list in brackets, not a string",
    ),
    "an empty pattern": (
        f"{USERS}{RULE}".replace('"*"', '""'),
        5,
        "auth.rules[0].repositories[0]",
        "a pattern must not be empty",
    ),
    "no tags": (f"{USERS}{RULE}tags = []", 7, "auth.rules[0].tags", "must have 1 or more entries"),
    "a text for a truth in a rule": (
        f"{USERS}{RULE}anonymous = 'false'",
        7,
        "auth.rules[0].anonymous",
        "must be true or false, not a string",
    ),
    "a group that is not a list": (f"{USERS}{RULE}[auth.groups]\na = 'b'", 8, "auth.groups.a", "must be a list"),
    "a user without a name": (f"{USERS}{RULE}[auth.groups]\na = ['']", 8, "auth.groups.a[0]", "must not be empty"),
    "a proxy with a name": (
        "[server]\ntrusted-proxies = ['localhost']",
        2,
        "server.trusted-proxies[0]",
        "must be an address or a network",
    ),
    "a realm that is not a URL": (f"[auth]\nrealm = '/v2/token'\n{USERS}{RULE}", 2, "auth.realm", "write https://"),
    "API keys that are off": ("[auth]\napi-keys = false", 1, "auth", "has no rules, so nobody may do anything"),
    "no keys of tokens": (f"[auth]\ntoken-keys = []\n{USERS}{RULE}", 2, "auth.token-keys", "there is no key"),
    "with dots": ("server.host = 'a'\nserver.port = -1", 2, "server.port", "must be 0 or more"),
}

WRONG.update(
    {
        "a token server without keys": (
            SERVER,
            1,
            "auth.token-server",
            "exactly one of jwks, jwks-url and certificates",
        ),
        "a token server with two files": (
            f'{SERVER}jwks = "x"\ncertificates = "x"',
            1,
            "auth.token-server",
            "exactly one of jwks, jwks-url and certificates",
        ),
        "a token server without a service": (
            SERVER.replace('service = "a"\n', "") + 'jwks = "x"',
            1,
            "auth.token-server.service",
            "is missing",
        ),
        "a token server without a name": (
            SERVER.replace('issuer = "b"', 'issuer = ""') + 'jwks = "x"',
            4,
            "auth.token-server.issuer",
            "must not be empty",
        ),
        "an unknown key of a token server": (
            f'{SERVER}jwks = "x"\njwks_url = "x"',
            6,
            "auth.token-server.jwks_url",
            "did you mean jwks-url?",
        ),
        "users without rules beside a token server": (f'{SERVER}jwks = "x"\n{USERS}', 1, "auth", "has no rules"),
        "a provider without rules": (OIDC, 1, "auth", "has no rules"),
        "a provider without an audience": (
            f"{OIDC}{RULE}".replace('audience = "b"\n', ""),
            1,
            "auth.oidc.ci.audience",
            "is missing",
        ),
        "a provider with an empty audience": (
            f"{OIDC}{RULE}".replace('"b"', '""'),
            3,
            "auth.oidc.ci.audience",
            "must not be empty",
        ),
        "an unknown key of a provider": (
            f'{OIDC}user-name = "sub"\n{RULE}',
            4,
            "auth.oidc.ci.user-name",
            "did you mean username?",
        ),
        "a provider with two origins of keys": (
            f'{OIDC}jwks = "x"\njwks-url = "https://a.example/"\n{RULE}',
            1,
            "auth.oidc.ci",
            "has both jwks and jwks-url",
        ),
        "keys without TLS": (
            f'{OIDC}jwks-url = "http://a.example/secret"\n{RULE}',
            4,
            "auth.oidc.ci.jwks-url",
            "does not begin with https://",
        ),
        "keys at a host that looks like a loopback address": (
            f'{OIDC}jwks-url = "http://127.0.0.1.a.example/"\n{RULE}',
            4,
            "auth.oidc.ci.jwks-url",
            "does not begin with https://",
        ),
        "an algorithm with a shared secret": (
            f'{OIDC}algorithms = ["HS256"]\n{RULE}',
            4,
            "auth.oidc.ci.algorithms[0]",
            "must be one of RS256, ",
        ),
        "no algorithms": (
            f"{OIDC}algorithms = []\n{RULE}",
            4,
            "auth.oidc.ci.algorithms",
            "must have 1 or more entries",
        ),
        "the name of a provider": (
            f"{OIDC}{RULE}".replace("oidc.ci", 'oidc."a:b"'),
            1,
            "auth.oidc.a:b",
            "must be lower-case letters, digits, - and _",
        ),
        "a requirement that is no pattern": (
            f'{OIDC}require = {{ org = "" }}\n{RULE}',
            4,
            "auth.oidc.ci.require.org",
            "a pattern must not be empty",
        ),
        "claims alone": (
            f"{OIDC}{RULE}{CLAIMS}".replace("authenticated = true\n", ""),
            4,
            "auth.rules[0]",
            "`claims` alone would count from every identity provider",
        ),
        "claims of everybody": (
            f"{OIDC}{RULE}{CLAIMS}".replace("authenticated", "anonymous"),
            4,
            "auth.rules[0]",
            "exclude each other",
        ),
        "no claims": (f"{OIDC}{RULE}claims = {{}}", 8, "auth.rules[0].claims", "must have 1 or more entries"),
        "a claim that is no text": (
            f"{OIDC}{RULE}claims = {{ a = true }}",
            8,
            "auth.rules[0].claims.a",
            "must be a string",
        ),
    }
)

ELSEWHERE: Final = '[registry]\nkind = "store"\ndatabase = "postgresql://a@b/c"\nobjects = { url = "s3://d/e" }\n'

RIGHT.update(
    {
        "a store in a database and a bucket": ELSEWHERE,
        "all keys of a database": f'{ELSEWHERE}database-password = {{ env = "PATH" }}\ndatabase-connections = 5\n'
        'database-pooled = true\ncache-manifests = 0\nimmutable-tags = true\ncollect-every = "1h"\ngrace = 0',
        "all keys of a bucket": """
[registry]
kind = "store"
data = "x"
durability = "normal"
[registry.objects]
url = "az://container"
endpoint = "https://s3.example"
region = "eu-1"
access-key-id = "a"
secret-access-key = { env = "PATH" }
options = { virtual-hosted-style-request = "true", token = { env = "PATH" } }
redirect = true
public-endpoint = "http://cdn.example:9000"
least-redirected = "4MiB"
url-lifetime = "5m"
delete-after = 600
part-size = "16MiB"
parts-in-flight = 8
retry = "1m"
""",
        "a registry of a cache that has the name of a key": '[registry]\nkind = "cache"\nlocal = { kind = "memory" }\n'
        'hosts = { objects = { kind = "memory" } }',
    }
)

WRONG.update(
    {
        "a database without a bucket": (
            '[registry]\nkind = "store"\ndatabase = "postgresql://a@b/c"',
            1,
            "registry",
            "`database` is set without `objects`: all nodes that use the database need the same contents",
        ),
        "a folder beside a database": (f'{ELSEWHERE}data = "x"', 1, "registry", "`data` has no effect"),
        "durability beside a database": (f'{ELSEWHERE}durability = "off"', 1, "registry", "`durability` has no effect"),
        "the mode of files beside a database": (
            f"{ELSEWHERE}group-readable = true",
            1,
            "registry",
            "`group-readable` has no effect, because with `database` and `objects` there is no folder: remove it",
        ),
        "a password without a database": (
            '[registry]\nkind = "store"\ndatabase-password = "secret"',
            1,
            "registry",
            "`database-password` is set without `database`",
        ),
        "a pool without a database": (
            '[registry]\nkind = "store"\ndatabase-connections = 5',
            1,
            "registry",
            "`database-connections` is set without `database`",
        ),
        "another database": (
            '[registry]\nkind = "store"\ndatabase = "mysql://a:secret@b/c"\nobjects = { url = "s3://d" }',
            3,
            "registry.database",
            "must be the URL of a database: postgresql://USER@HOST/DATABASE",
        ),
        "no bucket": (
            '[registry]\nkind = "store"\n[registry.objects]\nregion = "x"',
            3,
            "registry.objects.url",
            "is missing",
        ),
        "another bucket": (
            '[registry]\nkind = "store"\nobjects = { url = "https://secret.example" }',
            3,
            "registry.objects.url",
            "must be the URL of a bucket: s3://BUCKET/PREFIX",
        ),
        "an unknown key of a bucket": (
            (
                '[registry]\nkind = "read-only"\n[registry.backend]\nkind = "store"\n[registry.backend.objects]\n'
                'url = "s3://a"\nendpont = "https://b"'
            ),
            7,
            "registry.backend.objects.endpont",
            "unknown key; did you mean endpoint?",
        ),
        "a kind of a bucket": (
            '[registry]\nkind = "store"\nobjects = { url = "s3://a", kind = "s3" }',
            3,
            "registry.objects.kind",
            "unknown key",
        ),
        "a key without its secret": (
            '[registry]\nkind = "store"\nobjects = { url = "s3://a", access-key-id = "secret" }',
            3,
            "registry.objects",
            "`access-key-id` and `secret-access-key` belong together",
        ),
    }
)
