package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/internal/unixfs"
)

// configFile is the configuration file's name in the repository.
const configFile = "config.toml"

// maxConfig bounds a configuration file, in bytes: a thousand times what all
// keys need.
const maxConfig = 1 << 20

// A key is one setting. Its environment variable is its name in capitals:
// CAIRN_STORE_TARGET for store.target.
type key struct {
	name, standard, help string
	check                func(string) error
}

var keys = []key{
	{"add.profile", "unixfs-v1-2025", "how files become blocks", func(s string) error {
		_, err := unixfs.ProfileByName(s)
		return err
	}},
	{"api.addr", "127.0.0.1:5001", "where a daemon's API listens, besides its Unix socket: HOST:PORT, :PORT on this machine, or off", checkAddr},
	{"dns.doh", "", "DNS over HTTPS, by suffixes of domains: eth=https://…, .=https://… for all others", func(s string) error {
		return checkDNS(func(c *cairn.DNS, pairs map[string]string) { c.DoH = pairs }, s)
	}},
	{"dns.links", "", "DNSLinks that are known without asking: DOMAIN=/ipfs/CID or /ipns/NAME, divided by commas", func(s string) error {
		return checkDNS(func(c *cairn.DNS, pairs map[string]string) { c.Static = pairs }, s)
	}},
	{"dns.servers", "", "DNS servers for DNSLinks: HOST:PORT, divided by commas, or off; none: the system's", checkServers},
	{"gateway.addr", "127.0.0.1:8080", "where a daemon's gateway listens: HOST:PORT, :PORT on this machine, or off", checkAddr},
	{"key.passphrase-file", "", "a file whose first line encrypts the private keys, in the place of $CAIRN_KEY_PASSPHRASE", nil},
	{"log.level", "warn", "what is logged: debug, info, warn or error", func(s string) error {
		_, err := parseLevel(s)
		return err
	}},
	{"routing.fetched", "false", "whether what came as a cache is announced, too: true or false", checkBool},
	{"routing.mode", "auto", "who is asked for providers: auto, client, server, accelerated, delegated, lan or none", func(s string) error {
		_, err := cairn.ParseRoutingMode(s)
		return err
	}},
	{"routing.provide", "entities", "what is announced of what aliases keep: roots, entities (files and directories), all or none", func(s string) error {
		_, err := cairn.ParseProvideStrategy(s)
		return err
	}},
	{"routing.routers", publicWord, "routers to ask over HTTP: URLs divided by commas, public, or none", checkRouters},
	{"store.cache-size", "32MiB", "memory for the index's cache", checkSize},
	{"store.max-cached", "0", "blocks kept that no alias needs; 0: as many as there is space for", func(s string) error {
		_, err := strconv.ParseUint(s, 10, 63)
		if err != nil {
			return fmt.Errorf("%q is no number of blocks", s)
		}
		return nil
	}},
	{"store.pack-size", "64MiB", "where a pack is sealed and the next one begins", checkSize},
	{"store.reserve", "64MiB", "free disk space below which nothing more is taken in", checkSize},
	{"store.target", "0B", "what all packs may take on disk before garbage is evicted; 0B: no limit", checkSize},
	{"swarm.bootstrap", publicWord, "peers to connect to at once and enter the DHT by: addresses divided by commas, public, or none", checkBootstrap},
	{"swarm.listen", ":4001", "where a daemon listens for peers: multiaddrs divided by commas, :PORT for all kinds, or off", checkListen},
}

func checkSize(s string) error {
	_, err := parseSize(s)
	return err
}

func parseLevel(s string) (slog.Level, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(s)); err != nil {
		return 0, fmt.Errorf("%q is no log level: say debug, info, warn or error", s)
	}
	return l, nil
}

func findKey(name string) (key, error) {
	for _, k := range keys {
		if k.name == name {
			return k, nil
		}
	}
	return key{}, withHint(fmt.Errorf("%q is no key of the configuration", name), "cairn config show lists them")
}

// validate checks a value. A key without a check accepts any.
func (k key) validate(text string) error {
	if k.check == nil {
		return nil
	}
	return k.check(text)
}

// variable returns the key's environment variable.
func (k key) variable() string {
	return "CAIRN_" + strings.ToUpper(strings.NewReplacer(".", "_", "-", "_").Replace(k.name))
}

// A value is a key's value, and its origin: a file, a variable, a flag, or the
// standard.
type value struct{ text, origin string }

// settings are the values of all keys, each checked.
type settings map[string]value

// The getters convert values that their keys' checks have accepted.
func (s settings) text(name string) string { return s[name].text }

// list returns the parts of a text, which commas divide.
func (s settings) list(name string) []string { return splitList(s[name].text) }

// pairs returns the parts of a list of KEY=VALUE.
func (s settings) pairs(name string) map[string]string {
	all, err := parsePairs(s[name].text)
	if err != nil {
		return nil
	}
	return all
}

// parsePairs parses a list of KEY=VALUE.
func parsePairs(s string) (map[string]string, error) {
	all := make(map[string]string)
	for _, pair := range splitList(s) {
		key, v, found := strings.Cut(pair, "=")
		if !found || key == "" || v == "" {
			return nil, fmt.Errorf("%q is no KEY=VALUE", pair)
		}
		all[key] = v
	}
	return all, nil
}

// dns returns how domains are resolved.
func (s settings) dns() cairn.DNS {
	d := cairn.DNS{DoH: s.pairs("dns.doh"), Static: s.pairs("dns.links")}
	switch servers := s.list("dns.servers"); {
	case len(servers) == 1 && servers[0] == "off":
		d.Servers = []string{}
	case len(servers) > 0:
		d.Servers = servers
	}
	return d
}

// checkDNS checks pairs, which set stores in a cairn.DNS.
func checkDNS(set func(*cairn.DNS, map[string]string), s string) error {
	pairs, err := parsePairs(s)
	if err != nil {
		return err
	}
	var d cairn.DNS
	set(&d, pairs)
	return d.Check()
}

func checkServers(s string) error {
	if s == "off" {
		return nil
	}
	for _, server := range splitList(s) {
		_, port, err := net.SplitHostPort(server)
		if err == nil {
			_, err = strconv.ParseUint(port, 10, 16)
		}
		if err != nil {
			return fmt.Errorf("%q is no DNS server: say HOST:PORT", server)
		}
	}
	return nil
}

func (s settings) size(name string) int64 {
	n, err := parseSize(s[name].text)
	if err != nil {
		return 0
	}
	return n
}

func (s settings) number(name string) int64 {
	n, err := strconv.ParseInt(s[name].text, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func (s settings) level(name string) (slog.Level, error) { return parseLevel(s[name].text) }

// configPath returns the configuration file's path. There may be no file.
func (a *app) configPath() (string, error) {
	if a.config != "" {
		return a.config, nil
	}
	dir, err := a.repoDir()
	return filepath.Join(dir, configFile), err
}

// loadSettings sets each key to the first value of: a flag, the environment, the
// configuration file, the standard.
func (a *app) loadSettings() error {
	path, err := a.configPath()
	if err != nil {
		// Some commands need no repository, and so no home folder.
		path = ""
	}
	file := make(map[string]string)
	if path != "" {
		text, err := readConfig(path)
		switch {
		case errors.Is(err, os.ErrNotExist) && a.config == "":
		case err != nil:
			return fmt.Errorf("read configuration: %w", err)
		default:
			if file, err = parseConfig(text); err != nil {
				return fmt.Errorf("read configuration %s: %w", path, err)
			}
		}
	}
	a.set = make(settings)
	for _, k := range keys {
		v := value{k.standard, "standard"}
		if text, found := file[k.name]; found {
			v = value{text, path}
		}
		if text, _ := a.env(k.variable()); text != "" {
			v = value{text, "$" + k.variable()}
		}
		if k.name == "log.level" && a.logLevel != "" {
			v = value{a.logLevel, "--log-level"}
		}
		if k.name == "key.passphrase-file" && a.passphraseFile != "" {
			v = value{a.passphraseFile, "--passphrase-file"}
		}
		if err := k.validate(v.text); err != nil {
			return fmt.Errorf("%s (from %s): %w", k.name, v.origin, err)
		}
		a.set[k.name] = v
	}
	return nil
}

func readConfig(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxConfig {
		return nil, fmt.Errorf("%s has %s; more than %s is no configuration", path, formatSize(info.Size()), formatSize(maxConfig))
	}
	return os.ReadFile(path)
}

// parseConfig parses TOML: tables of known keys, whose values are strings or
// whole numbers, and valid.
func parseConfig(text []byte) (map[string]string, error) {
	var tables map[string]any
	if err := toml.Unmarshal(text, &tables); err != nil {
		var syntax toml.ParseError
		if errors.As(err, &syntax) {
			return nil, fmt.Errorf("line %d: %s", syntax.Position.Line, syntax.Message)
		}
		return nil, err
	}
	values := make(map[string]string)
	for table, content := range tables {
		keys, ok := content.(map[string]any)
		if !ok {
			_, err := findKey(table)
			return nil, err
		}
		for name, v := range keys {
			k, err := findKey(table + "." + name)
			if err != nil {
				return nil, err
			}
			switch v := v.(type) {
			case string:
				values[k.name] = v
			case int64:
				values[k.name] = strconv.FormatInt(v, 10)
			default:
				return nil, fmt.Errorf("%s: %v is neither a text nor a whole number", k.name, v)
			}
			if err := k.validate(values[k.name]); err != nil {
				return nil, fmt.Errorf("%s: %w", k.name, err)
			}
		}
	}
	return values, nil
}
