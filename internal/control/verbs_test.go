package control

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/httpapi"
	"github.com/cairn-ipfs/cairn/store"
	"github.com/go-json-experiment/json"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
)

// A world is a node with contents that are the same in each world, and what its
// verbs are asked about.
type world struct {
	t      *testing.T
	node   *cairn.Node
	target *Target // the node, here or through a daemon
	dir    string
	far    *cairn.Node // another node, on the network
	farAt  string      // its address
	farID  peer.ID

	file, tree, garbage cid.Cid
	remote              cid.Cid // what only the far node has
	key                 []byte  // of the key "site"
	mask                *strings.Replacer
}

// newWorld makes a world in dir around a node that has listened nowhere.
func newWorld(t *testing.T, far *cairn.Node, key []byte, through func(*server) *Target) *world {
	t.Helper()
	ctx := t.Context()
	w := &world{t: t, far: far, key: key, dir: t.TempDir()}
	w.node = newNode(t, cairn.Config{Dir: filepath.Join(w.dir, "repo"), Routing: cairn.RoutingNone, UserAgent: "cairn/test"})
	w.target = through(serve(t, w.node))
	w.file = addFile(t, w.node, noise(3<<20, 1), cairn.AddOptions{Alias: "file"}).CID
	w.garbage = addFile(t, w.node, noise(1000, 2), cairn.AddOptions{NoPin: true}).CID
	if err := os.WriteFile(filepath.Join(w.dir, "small"), []byte("small"), 0o644); err != nil {
		t.Fatal(err)
	}
	added, err := w.node.AddPath(ctx, filepath.Join(w.dir, "small"), cairn.AddOptions{Wrap: "small", Alias: "tree"})
	if err != nil {
		t.Fatal(err)
	}
	w.tree = added.CID
	keys, err := w.node.Keys()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keys.Import("site", key); err != nil {
		t.Fatal(err)
	}
	self, err := keys.Info(cairn.SelfKey)
	if err != nil {
		t.Fatal(err)
	}
	id, err := w.node.ID(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if w.farID, err = far.ID(ctx); err != nil {
		t.Fatal(err)
	}
	addrs, err := far.Addrs(ctx)
	if err != nil {
		t.Fatal(err)
	}
	w.farAt = addrs[0].String()
	w.mask = strings.NewReplacer(id.String(), "SELF", self.ID, "SELFNAME", w.dir, "DIR")
	return w
}

// A golden is one use of a verb. It returns what came: results as JSON, bytes,
// and the error with its codes.
type golden struct {
	verb registrar
	name string
	do   func(ctx context.Context, w *world) string
}

func saidError(err error) string {
	if err == nil {
		return ""
	}
	var remote *Error
	codes := httpapi.CodesOf(Codes(), err)
	if errors.As(err, &remote) {
		codes = remote.Codes
	}
	return fmt.Sprintf("error %q %q\n", err, codes)
}

func said(t *testing.T, result any) string {
	text, err := JSON(result)
	if err != nil {
		t.Fatal(err)
	}
	return string(text) + "\n"
}

func call[A, R any](name string, v Call[A, R], args func(*world) A) golden {
	return golden{v, name, func(ctx context.Context, w *world) string {
		result, err := v.Do(ctx, w.target, args(w))
		if err != nil {
			return saidError(err)
		}
		return said(w.t, result)
	}}
}

// stream is call for streams. keep selects the results to compare where their
// number varies with time; nil compares all.
func stream[A, T any](name string, v Stream[A, T], keep func(T) bool, args func(*world) A) golden {
	return golden{v, name, func(ctx context.Context, w *world) (all string) {
		for result, err := range v.Do(ctx, w.target, args(w)) {
			if err != nil {
				return all + saidError(err)
			}
			if keep == nil || keep(result) {
				all += said(w.t, result)
			}
		}
		return all
	}}
}

func download[A any](name string, v Download[A], args func(*world) A) golden {
	return golden{v, name, func(ctx context.Context, w *world) string {
		var out bytes.Buffer
		size := int64(-1)
		err := v.Do(ctx, w.target, args(w), &out, func(n int64) { size = n })
		return fmt.Sprintf("%d of %d bytes %x\n", out.Len(), size, out.Bytes()[:min(out.Len(), 200)]) + saidError(err)
	}}
}

func absent(codec uint64) cid.Cid {
	b, err := block.New(codec, []byte("absent"))
	if err != nil {
		panic(err) // a codec of the test's own
	}
	return b.CID()
}

// goldens use every verb, for what it is for and for an error. They run in
// order, on one world.
func goldens() []golden {
	none := func(*world) struct{} { return struct{}{} }
	file := func(w *world) RootArgs { return RootArgs{w.file} }
	gone := func(*world) RootArgs { return RootArgs{absent(block.Raw)} }
	blockOf := func(w *world) BlockArgs { return BlockArgs{w.file} }
	goneBlock := func(*world) BlockArgs { return BlockArgs{absent(block.Raw)} }
	two := int64(2)
	return []golden{
		call("alias", ResolveAlias, func(*world) AliasArgs { return AliasArgs{"file"} }),
		call("no alias", ResolveAlias, func(*world) AliasArgs { return AliasArgs{"none\n&<"} }),
		stream("aliases", ListAliases, nil, func(*world) ListArgs { return ListArgs{""} }),
		stream("no aliases", ListAliases, nil, func(*world) ListArgs { return ListArgs{"none"} }),
		stream("keepers", ListKeepers, nil, blockOf),
		stream("no keepers", ListKeepers, nil, goneBlock),

		download("block", GetBlock, blockOf),
		download("no block", GetBlock, goneBlock),
		call("size", BlockSize, blockOf),
		call("no size", BlockSize, goneBlock),
		call("delete a live block", DeleteBlocks, func(w *world) DeleteArgs { return DeleteArgs{[]cid.Cid{w.file}} }),
		stream("missing", ListMissing, nil, gone),
		stream("nothing missing", ListMissing, nil, file),

		download("cat", Cat, func(w *world) CatArgs { return CatArgs{CID: w.file} }),
		download("cat a part", Cat, func(w *world) CatArgs { return CatArgs{CID: w.file, Offset: 1 << 20, Length: &two} }),
		download("cat a directory", Cat, func(w *world) CatArgs { return CatArgs{CID: w.tree} }),
		download("cat nothing", Cat, func(*world) CatArgs { return CatArgs{CID: absent(block.DagPB)} }),
		download("export", ExportCAR, file),
		download("export nothing", ExportCAR, gone),
		call("count", CountDAG, file),
		call("count nothing", CountDAG, gone),

		stream("add", Add, nil, func(w *world) AddArgs {
			return AddArgs{
				Paths: []string{filepath.Join(w.dir, "small"), "-"}, Body: strings.NewReader("body"), Entries: true,
				Options: cairn.AddOptions{Chunker: "size-2", Exclude: []string{"*.tmp"}},
			}
		}),
		stream("add a file that isn't there", Add, nil, func(w *world) AddArgs { return AddArgs{Paths: []string{filepath.Join(w.dir, "none")}} }),
		stream("add a relative path", Add, nil, func(*world) AddArgs { return AddArgs{Paths: []string{"small"}} }),
		call("batch", ApplyBatch, func(*world) BatchArgs {
			return BatchArgs{Boundary: "b", Body: strings.NewReader(changesBody(`{"alias":"by batch","cid":"bafkqabtimvwgy3yk"}`))}
		}),
		call("batch that fails", ApplyBatch, func(*world) BatchArgs {
			return BatchArgs{Boundary: "b", Body: strings.NewReader(changesBody(`{"remove":"none"}`))}
		}),

		call("stats", Stats, none),
		stream("verify", Verify, func(e VerifyEvent) bool { return e.Report != nil }, func(*world) store.VerifyOptions { return store.VerifyOptions{Data: true} }),
		call("evict, dry run", Evict, func(*world) store.EvictOptions { return store.EvictOptions{DryRun: true} }),
		call("evict to less than nothing", Evict, func(*world) store.EvictOptions { return store.EvictOptions{Target: -1} }),
		call("backup", Backup, func(w *world) BackupArgs { return BackupArgs{filepath.Join(w.dir, "copy")} }),
		call("backup again", Backup, func(w *world) BackupArgs { return BackupArgs{filepath.Join(w.dir, "copy")} }),
		call("backup to a relative path", Backup, func(*world) BackupArgs { return BackupArgs{"copy"} }),
		{Events, "events", func(ctx context.Context, w *world) string {
			ctx, cancel := context.WithCancel(ctx)
			var setting sync.WaitGroup
			defer setting.Wait()
			defer cancel()
			setting.Go(func() { // until one comes after the subscription
				for ctx.Err() == nil {
					if err := w.node.Store().SetAlias(w.t.Context(), "evented", absent(block.Raw), store.AliasOptions{}); err != nil {
						w.t.Error(err)
						return
					}
				}
			})
			for e, err := range Events.Do(ctx, w.target, struct{}{}) {
				e.Lost = 0
				return said(w.t, e) + saidError(err)
			}
			return ""
		}},

		call("identify", Identify, none),
		call("no peers", ListPeers, none),
		call("connect", Connect, func(w *world) AddressArgs { return AddressArgs{w.farAt} }),
		call("connect to nonsense", Connect, func(*world) AddressArgs { return AddressArgs{"nonsense"} }),
		call("peers", ListPeers, none),
		{Ping, "ping", func(ctx context.Context, w *world) (all string) {
			for rtt, err := range Ping.Do(ctx, w.target, PingArgs{w.farID.String(), 2, time.Millisecond}) {
				all += fmt.Sprintln(rtt > 0) + saidError(err)
			}
			return all
		}},
		stream("ping nonsense", Ping, nil, func(*world) PingArgs { return PingArgs{"nonsense", 1, 0} }),
		stream("ping never", Ping, nil, func(w *world) PingArgs { return PingArgs{w.farID.String(), 0, 0} }),
		stream("sync", Sync, func(p cairn.SyncProgress) bool { return p.Done }, func(w *world) SyncArgs {
			return SyncArgs{w.remote, cairn.SyncOptions{From: []string{w.farAt}, OnlyFrom: true, Alias: "synced"}}
		}),
		stream("sync from nonsense", Sync, nil, func(w *world) SyncArgs {
			return SyncArgs{w.remote, cairn.SyncOptions{From: []string{"nonsense"}}}
		}),
		call("disconnect", Disconnect, func(w *world) PeerArgs { return PeerArgs{w.farID} }),

		stream("find providers", FindProviders, nil, func(w *world) FindArgs { return FindArgs{w.file, true} }),
		stream("find a peer", FindPeer, nil, func(w *world) FindPeerArgs { return FindPeerArgs{w.farID, true} }),
		call("provide", Provide, blockOf),
		call("unprovide", Unprovide, blockOf),
		call("provide stats", ProvideStats, none),
		call("routing status", RoutingStatus, none),

		stream("keys", ListKeys, nil, none),
		call("generate a key that is there", GenerateKey, func(*world) KeyArgs { return KeyArgs{"site"} }),
		{GenerateKey, "generate a key", func(ctx context.Context, w *world) string {
			k, err := GenerateKey.Do(ctx, w.target, KeyArgs{"new"})
			k.ID = k.ID[:min(3, len(k.ID))]
			return said(w.t, k) + saidError(err)
		}},
		call("rename a key", RenameKey, func(*world) RenameArgs { return RenameArgs{"site", "page"} }),
		call("rename no key", RenameKey, func(*world) RenameArgs { return RenameArgs{"site", "page"} }),
		call("export a key", ExportKey, func(*world) ExportKeyArgs { return ExportKeyArgs{"page", cairn.KeyPEM} }),
		call("export no key", ExportKey, func(*world) ExportKeyArgs { return ExportKeyArgs{"site", cairn.KeyPEM} }),
		call("import a key that is there", ImportKey, func(w *world) ImportKeyArgs { return ImportKeyArgs{"again", bytes.NewReader(w.key)} }),
		call("import noise", ImportKey, func(*world) ImportKeyArgs { return ImportKeyArgs{"again", strings.NewReader("noise")} }),
		call("import too much", ImportKey, func(*world) ImportKeyArgs {
			return ImportKeyArgs{"again", bytes.NewReader(make([]byte, maxKeyFile+1))}
		}),
		call("remove the identity", RemoveKeys, func(*world) RemoveKeysArgs { return RemoveKeysArgs{[]string{"page", cairn.SelfKey}, false} }),
		call("remove keys, dry run", RemoveKeys, func(*world) RemoveKeysArgs { return RemoveKeysArgs{[]string{"page"}, true} }),

		call("publish", PublishName, func(w *world) PublishArgs {
			return PublishArgs{Key: "page", Path: "/ipfs/" + w.tree.String(), Lifetime: time.Hour, TTL: time.Minute}
		}),
		call("publish below", PublishName, func(w *world) PublishArgs {
			return PublishArgs{Key: "page", Path: "/ipfs/" + w.tree.String(), Sequence: 1, Offline: true}
		}),
		call("publish by no key", PublishName, func(w *world) PublishArgs { return PublishArgs{Key: "none", Path: "/ipfs/" + w.tree.String()} }),
		call("resolve", ResolveName, func(*world) NameArgs { return NameArgs{Name: "page"} }),
		call("resolve nothing", ResolveName, func(*world) NameArgs { return NameArgs{Name: "none"} }),
		{GetNameRecord, "record", func(ctx context.Context, w *world) string {
			r, err := GetNameRecord.Do(ctx, w.target, NameArgs{Name: "page", Offline: true})
			again, perr := PutNameRecord.Do(ctx, w.target, PutRecordArgs{r.Name, r.Raw})
			return said(w.t, r) + saidError(err) + said(w.t, again) + saidError(perr)
		}},
		call("no record", GetNameRecord, func(*world) NameArgs { return NameArgs{Name: "none"} }),
		call("put noise", PutNameRecord, func(*world) PutRecordArgs { return PutRecordArgs{"page", []byte("noise")} }),
		call("remove keys", RemoveKeys, func(*world) RemoveKeysArgs { return RemoveKeysArgs{[]string{"page"}, false} }),
		call("evict", Evict, func(*world) store.EvictOptions { return store.EvictOptions{} }),
		call("delete a block that is gone", DeleteBlocks, func(w *world) DeleteArgs { return DeleteArgs{[]cid.Cid{w.garbage}} }),
	}
}

func changesBody(lines string) string {
	return "--b\r\nContent-Disposition: form-data; name=\"changes\"\r\n\r\n" + lines + "\r\n--b--\r\n"
}

// varies matches what differs from run to run: times, durations, ports, disk
// sizes, and what is signed anew.
var varies = regexp.MustCompile(`"(since|heard|validity|rtt|rate|left|ttl|took|record|freeBytes|indexBytes|packBytes)":("[^"]*"|[\d.e+-]+)|/tcp/\d+`)

// TestVerbs does every verb on a node here and through a daemon, and expects the
// same results, bytes, and error codes.
func TestVerbs(t *testing.T) {
	ctx := t.Context()
	far := newNode(t, cairn.Config{Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Local: true, Routing: cairn.RoutingNone, UserAgent: "cairn/far"})
	remote := addFile(t, far, noise(2<<20, 3), cairn.AddOptions{}).CID
	keys, err := far.Keys()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keys.Generate("site"); err != nil {
		t.Fatal(err)
	}
	key, err := keys.Export("site", cairn.KeyProtobuf)
	if err != nil {
		t.Fatal(err)
	}
	here := newWorld(t, far, key, func(s *server) *Target { return s.here })
	there := newWorld(t, far, key, func(s *server) *Target { return s.unix })
	here.remote, there.remote = remote, remote

	used := make(map[string]bool)
	for _, g := range goldens() {
		var came [2]string
		for i, w := range []*world{here, there} {
			came[i] = w.mask.Replace(g.do(ctx, w))
			came[i] = varies.ReplaceAllString(came[i], "…")
		}
		if came[0] != came[1] {
			t.Errorf("%s: got here\n%s\nand through a daemon\n%s", g.name, came[0], came[1])
		}
		checkNames(t, g.name, came[0])
		used[pathOf(g.verb)] = true
	}
	for _, v := range all() {
		if !used[pathOf(v)] {
			t.Errorf("no case does %s", pathOf(v))
		}
	}
}

// pathOf is the path of a verb.
func pathOf(v registrar) string {
	verbs := make(map[string]httpapi.Verb)
	v.register(nil, verbs)
	return slices.Collect(maps.Keys(verbs))[0]
}

// checkNames expects names in results to begin in lower case, as they do on the
// command line.
func checkNames(t *testing.T, what, lines string) {
	for line := range strings.Lines(lines) {
		var fields map[string]any
		if json.Unmarshal([]byte(line), &fields) != nil {
			continue
		}
		for name := range fields {
			if unicode.IsUpper([]rune(name)[0]) {
				t.Errorf("%s: a field is called %s", what, name)
			}
		}
	}
}
