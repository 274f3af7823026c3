package cairn_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/parser"
	"go/token"
	"io"
	"maps"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/access"
	"github.com/cairn-ipfs/cairn/store"
)

const module = "github.com/cairn-ipfs/cairn"

// floors is the house of docs/architecture.md: a package imports packages of
// lower floors only.
var floors = map[string]int{
	"internal/access": -1,

	"block":               0,
	"internal/events":     0,
	"internal/atomicfile": 0,
	"internal/httpapi":    0,
	"internal/rows":       0,

	"internal/car":   1,
	"internal/dag":   1,
	"internal/swarm": 1,
	"eris":           1,

	"internal/pack":    2,
	"internal/unixfs":  2,
	"internal/bitswap": 2,
	"internal/routing": 2,

	"store":          3,
	"internal/names": 3,
	"internal/ipld":  3,

	"internal/exchange":  4,
	"internal/announce":  4,
	"internal/statcache": 4,
	"internal/bucket":    4,
	"internal/trustless": 4,

	"internal/mirror":  5,
	"internal/gateway": 5,
	"internal/sources": 5,

	"": 6, // the root package

	"internal/control": 7,
	"internal/kubo":    7,
	"internal/page":    7,

	"cmd/cairn": 8,
}

// forTests are the packages that only tests import. They import no package of ours
// but block.
var forTests = map[string]bool{
	"internal/simnet":  true,
	"internal/crashfs": true,
	"internal/bench":   true,
	"block/blocktest":  true,
}

// A goPackage is a part of the output of `go list -json`.
type goPackage struct {
	Name, Dir, ImportPath              string
	GoFiles                            []string
	Imports, TestImports, XTestImports []string
}

// room is the package's name within the module, empty for the root.
func (p goPackage) room() string { return room(p.ImportPath) }

func room(importPath string) string {
	return strings.TrimPrefix(strings.TrimPrefix(importPath, module), "/")
}

// ours returns the rooms among the import paths.
func ours(imports []string) []string {
	var rooms []string
	for _, path := range imports {
		if path == module || strings.HasPrefix(path, module+"/") {
			rooms = append(rooms, room(path))
		}
	}
	return rooms
}

func goCommand(t *testing.T, args ...string) []byte {
	t.Helper()
	out, err := exec.Command("go", args...).Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Logf("%s", exit.Stderr)
		}
		t.Fatalf("go %s: %v", strings.Join(args, " "), err)
	}
	return out
}

func packages(t *testing.T) []goPackage {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(goCommand(t, "list", "-json", "./...")))
	var all []goPackage
	for {
		var p goPackage
		err := decoder.Decode(&p)
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// TestFloors holds every package to its floor.
func TestFloors(t *testing.T) {
	for _, p := range packages(t) {
		name := p.room()
		if forTests[name] {
			for _, below := range ours(p.Imports) {
				if below != "block" {
					t.Errorf("%s imports %q; a package for tests may import block only", name, below)
				}
			}
			continue
		}
		floor, known := floors[name]
		if !known {
			t.Errorf("package %q has no floor: add it here and to docs/architecture.md", name)
			continue
		}
		for _, below := range ours(p.Imports) {
			if forTests[below] {
				t.Errorf("%q imports %s, which is for tests only", name, below)
			} else if lower, known := floors[below]; known && lower >= floor {
				t.Errorf("%q (floor %d) imports %q (floor %d)", name, floor, below, lower)
			}
		}
		for _, beside := range ours(slices.Concat(p.TestImports, p.XTestImports)) {
			if floors[beside] > floor && !forTests[beside] {
				t.Errorf("tests of %q (floor %d) import %q (floor %d)", name, floor, beside, floors[beside])
			}
		}
	}
}

// TestInternal checks that the functions Internal of public packages can be
// called from this module only: each takes an access.Key, and the type of its
// result isn't exported.
func TestInternal(t *testing.T) {
	for name, internal := range map[string]any{"block": block.Internal, "store": store.Internal} {
		f := reflect.TypeOf(internal)
		if f.NumIn() != 1 || f.In(0) != reflect.TypeFor[access.Key]() {
			t.Errorf("%s.Internal: got %v, want one argument, an access.Key", name, f)
		}
		if result := f.Out(0).Name(); token.IsExported(result) {
			t.Errorf("%s.Internal: got the result type %s, want an unexported one", name, result)
		}
	}
}

// minComment is the least length of a package comment, in bytes: a shorter one lacks
// the purpose, key types, concurrency or non-goals.
const minComment = 200

// TestPackageComments expects each package to introduce itself.
func TestPackageComments(t *testing.T) {
	for _, p := range packages(t) {
		comment := ""
		for _, file := range p.GoFiles {
			parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, file), nil, parser.PackageClauseOnly|parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			if doc := parsed.Doc.Text(); doc != "" {
				if comment != "" {
					t.Errorf("%s: %s has a second package comment", p.ImportPath, file)
				}
				comment = doc
			}
		}
		begin := "Package " + p.Name + " "
		if p.Name == "main" {
			begin = "Command " + filepath.Base(p.ImportPath) + " "
		}
		if !strings.HasPrefix(comment, begin) || len(comment) < minComment {
			t.Errorf("%s: the package comment has %d bytes and begins %.30q, want %d or more and %q",
				p.ImportPath, len(comment), comment, minComment, begin)
		}
	}
}

// linked are the modules required directly that are in the binary, and what for. A
// new one is a decision: it goes here with its reason.
var linked = map[string]string{
	"filippo.io/age":                        "encryption of keys at rest",
	"github.com/BurntSushi/toml":            "the configuration file",
	"github.com/cockroachdb/pebble/v2":      "the index, and the file system interface below it and the packs",
	"github.com/go-json-experiment/json":    "encoding/json/v2 for Go 1.26: public types as JSON",
	"github.com/hashicorp/golang-lru/v2":    "the caches of providers and DNSLinks",
	"github.com/ipfs/boxo":                  "IPNS records, delegated routing, rabin and buzhash chunkers; in tests the other side",
	"github.com/ipfs/go-cid":                "CIDs",
	"github.com/ipfs/go-datastore":          "the interface to the DHT's state",
	"github.com/ipfs/go-log/v2":             "silencing what the DHT and boxo write to stderr",
	"github.com/ipld/go-codec-dagpb":        "dag-pb as dag-json, and back",
	"github.com/ipld/go-ipld-prime":         "dag-cbor and dag-json of values; in tests the reference for links",
	"github.com/libp2p/go-libp2p":           "hosts, streams, identities of peers",
	"github.com/libp2p/go-libp2p-kad-dht":   "the DHT",
	"github.com/libp2p/go-libp2p-kbucket":   "distances of keys in the DHT",
	"github.com/libp2p/go-libp2p-pubsub":    "gossipsub, for topics",
	"github.com/libp2p/go-libp2p-record":    "validation of the DHT's records",
	"github.com/miekg/dns":                  "DNSLink",
	"github.com/multiformats/go-multiaddr":  "addresses of peers",
	"github.com/multiformats/go-multibase":  "the bases of CIDs as text",
	"github.com/multiformats/go-multicodec": "names of codecs and hash functions",
	"github.com/multiformats/go-multihash":  "hash functions",
	"github.com/multiformats/go-varint":     "varints of multiformats",
	"github.com/prometheus/client_golang":   "linked by go-libp2p; our code imports it in tests only, for boxo's gateway",
	"github.com/rogpeppe/go-internal":       "linked by Pebble; our code imports it in tests only: testscript",
	"github.com/spaolacci/murmur3":          "the hash of sharded directories",
	"github.com/spf13/cobra":                "commands and flags",
	"github.com/vbauerster/mpb/v8":          "progress bars",
	"golang.org/x/sync":                     "weighted semaphores, for the memory that peers may take",
	"golang.org/x/term":                     "whether a stream is a terminal",
	"google.golang.org/protobuf":            "the wire format of bitswap's messages",
}

// onlyTests are the modules required directly that are not in the binary, and what
// for.
var onlyTests = map[string]string{
	"github.com/ipfs/go-block-format": "the blocks of go-car",
	"github.com/ipld/go-car/v2":       "the reference for CARs",
	"github.com/marcopolo/simnet":     "a network in memory, for QUIC",
	"pgregory.net/rapid":              "random operations against a model",
}

// TestDependencies holds both lists against go.mod and what go links.
func TestDependencies(t *testing.T) {
	var mod struct {
		Require []struct {
			Path     string
			Indirect bool
		}
	}
	if err := json.Unmarshal(goCommand(t, "mod", "edit", "-json"), &mod); err != nil {
		t.Fatal(err)
	}
	inBinary := make(map[string]bool)
	for _, path := range strings.Fields(string(goCommand(t, "list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", "./cmd/cairn"))) {
		inBinary[path] = true
	}
	direct := make(map[string]bool)
	for _, r := range mod.Require {
		switch {
		case r.Indirect:
			continue
		case inBinary[r.Path] && linked[r.Path] == "":
			t.Errorf("%s is in the binary, but not in linked: want its reason there", r.Path)
		case !inBinary[r.Path] && onlyTests[r.Path] == "":
			t.Errorf("%s is not in the binary and not in onlyTests: want its reason there", r.Path)
		}
		direct[r.Path] = true
	}
	for _, path := range slices.Sorted(maps.Keys(linked)) {
		if !direct[path] || !inBinary[path] {
			t.Errorf("%s is in linked: got direct %t, in the binary %t, want both", path, direct[path], inBinary[path])
		}
	}
	for _, path := range slices.Sorted(maps.Keys(onlyTests)) {
		if !direct[path] || inBinary[path] {
			t.Errorf("%s is in onlyTests: got direct %t, in the binary %t, want only the first", path, direct[path], inBinary[path])
		}
	}
}
