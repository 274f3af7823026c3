package cairn_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	gosync "sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/internal/names"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/miekg/dns"
)

const (
	pathA = "/ipfs/bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"
	pathB = "/ipfs/bafkreiey5jxe6ilpf62lnh77tm5ejbbmhbugzjuf6p2v3remlu73ced34q"
)

// unsent publishes while no peer is connected that accepts the record.
func unsent(t *testing.T, n *cairn.Node, key, path string, o cairn.PublishOptions) cairn.NameRecord {
	t.Helper()
	r, err := n.PublishName(t.Context(), key, path, o)
	if !errors.Is(err, cairn.ErrNotSent) || r.Name == "" {
		t.Fatalf("publish: got %+v, %v, want a record and ErrNotSent", r, err)
	}
	return r
}

// awaitName waits until the best record of a name is this one.
func awaitName(t *testing.T, n *cairn.Node, want cairn.NameRecord) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for r, err := range n.NameUpdates(ctx, want.Name) {
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Equal(r.Raw, want.Raw) {
			return
		}
	}
}

// One node publishes a directory. Another resolves the name, fetches the directory,
// and receives the next version.
func TestNamesOfTwoNodes(t *testing.T) {
	ctx := t.Context()
	alice, addr := listening(t, cairn.Config{Routing: cairn.RoutingNone})
	keys, err := alice.Keys()
	if err != nil {
		t.Fatal(err)
	}
	key, err := keys.Generate("site")
	if err != nil {
		t.Fatal(err)
	}
	site, err := alice.AddFS(ctx, fstest.MapFS{"a/b": {Data: []byte("hello")}}, cairn.AddOptions{})
	if err != nil {
		t.Fatal(err)
	}
	first := unsent(t, alice, "site", site.CID.String(), cairn.PublishOptions{Metadata: map[string]any{"_size": 5}})
	if first.Name != key.ID || first.Value != "/ipfs/"+site.CID.String() || first.Sequence != 0 || first.Metadata["_size"] != int64(5) {
		t.Errorf("the record: got %+v", first)
	}
	if left := time.Until(first.Validity); left < 29*24*time.Hour || first.TTL != 5*time.Minute {
		t.Errorf("the record is valid for %v, and may be cached for %v", left, first.TTL)
	}

	bob := calling(t, cairn.Config{Routing: cairn.RoutingNone})
	if _, err := bob.Connect(ctx, addr); err != nil {
		t.Fatal(err)
	}
	id, _ := alice.ID(ctx)
	r, err := bob.ResolveName(ctx, "/ipns/"+key.ID+"/a", cairn.ResolveOptions{})
	if err != nil || r.Root != site.CID || r.Rest != "a" || r.Path != first.Value+"/a" || r.TTL <= 0 || len(r.Steps) != 1 {
		t.Fatalf("resolve: got %+v, %v", r, err)
	}
	step := r.Steps[0]
	if step.Name != key.ID || step.From != "peer "+id.String() || step.Record == nil || !bytes.Equal(step.Record.Raw, first.Raw) || time.Since(step.Heard) > time.Minute {
		t.Errorf("the step: got %+v", step)
	}
	if _, err := syncDAG(t, bob, r.Root, cairn.SyncOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"ipns://" + key.ID + "/a/b", "/ipns/" + key.ID + "/a/b", r.Path + "/b", site.CID.String() + "/a/b/"} {
		c, err := bob.ResolvePath(ctx, p, cairn.ResolveOptions{})
		if err != nil {
			t.Errorf("%s: %v", p, err)
			continue
		}
		if f, err := bob.OpenFile(ctx, c); err != nil || f.Size() != 5 {
			t.Errorf("open %s: %v", p, err)
		} else {
			f.Close()
		}
	}
	if _, err := bob.ResolvePath(ctx, "/ipns/"+key.ID+"/z", cairn.ResolveOptions{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a path that isn't there: got %v, want ErrNotExist", err)
	}

	// Bob follows the name and receives the record.
	if err := bob.FollowName(ctx, key.ID); err != nil {
		t.Fatal(err)
	}
	second, err := alice.PublishName(ctx, "site", pathB, cairn.PublishOptions{})
	for errors.Is(err, cairn.ErrNotSent) { // Alice has not learned yet that Bob follows
		second, err = alice.PublishName(ctx, "site", pathB, cairn.PublishOptions{})
	}
	if err != nil || second.Sequence == 0 {
		t.Fatalf("publish: got %+v, %v", second, err)
	}
	awaitName(t, bob, second)
	r, err = bob.ResolveName(ctx, key.ID, cairn.ResolveOptions{Offline: true})
	if err != nil || r.Path != pathB || !strings.HasSuffix(r.Steps[0].From, " "+id.String()) {
		t.Errorf("after the push: got %+v, %v", r, err)
	}
	if err := bob.UnfollowName(ctx, key.ID); err != nil {
		t.Fatal(err)
	}

	// An older record is rejected, unless the name is forgotten.
	if _, err := bob.PutNameRecord(ctx, key.ID, first.Raw); !errors.Is(err, cairn.ErrRollback) {
		t.Errorf("an old record: got %v, want ErrRollback", err)
	}
	if err := bob.ForgetName(ctx, key.ID); err != nil {
		t.Fatal(err)
	}
	if r, err := bob.PutNameRecord(ctx, key.ID, first.Raw); err != nil && !errors.Is(err, cairn.ErrNotSent) || r.Value != first.Value {
		t.Errorf("after it was forgotten: got %+v, %v", r, err)
	}
}

// The DHT keeps a record when its publisher has gone.
func TestNamesInTheDHT(t *testing.T) {
	ctx := t.Context()
	hub, addr := dhtOf(t)
	id, err := hub.ID(ctx)
	if err != nil {
		t.Fatal(err)
	}
	alice := calling(t, cairn.Config{Bootstrap: []string{addr}})
	keys, err := alice.Keys()
	if err != nil {
		t.Fatal(err)
	}
	key, err := keys.Generate("site")
	if err != nil {
		t.Fatal(err)
	}
	first, err := alice.PublishName(ctx, "site", pathA, cairn.PublishOptions{})
	if err != nil || first.Sequence != 0 {
		t.Fatalf("publish: got %+v, %v", first, err)
	}
	pem, err := keys.Export("site", cairn.KeyPEM)
	if err != nil {
		t.Fatal(err)
	}
	if err := alice.Close(); err != nil {
		t.Fatal(err)
	}

	bob := calling(t, cairn.Config{Bootstrap: []string{addr}})
	r, err := bob.ResolveName(ctx, key.ID, cairn.ResolveOptions{})
	if err != nil || r.Path != pathA || !bytes.Equal(r.Steps[0].Record.Raw, first.Raw) {
		t.Fatalf("resolve: got %+v, %v", r, err)
	}
	if from := r.Steps[0].From; from != "dht" && from != "lan" {
		t.Errorf("resolved from %q, want the DHT", from)
	}
	// The key's owner signs above the sequence in use.
	carol := calling(t, cairn.Config{Bootstrap: []string{addr}})
	theirs, err := carol.Keys()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := theirs.Import("site", pem); err != nil {
		t.Fatal(err)
	}
	second, err := carol.PublishName(ctx, "site", pathB, cairn.PublishOptions{})
	if err != nil || second.Sequence != first.Sequence+1 {
		t.Fatalf("publish again: got %+v, %v", second, err)
	}
	if r, err := bob.ResolveName(ctx, key.ID, cairn.ResolveOptions{Latest: true}); err != nil || r.Path != pathB {
		t.Errorf("resolve again: got %+v, %v", r, err)
	}
	if _, err := bob.PutNameRecord(ctx, key.ID, first.Raw); !errors.Is(err, cairn.ErrRollback) {
		t.Errorf("put the old one: got %v, want ErrRollback", err)
	}
	if _, err := bob.ResolveName(ctx, id.String(), cairn.ResolveOptions{}); !errors.Is(err, cairn.ErrNameNotFound) {
		t.Errorf("a name that was never published: got %v, want ErrNameNotFound", err)
	}
}

// A delegated router stores and returns records. A broken one does no harm.
func TestNamesByDelegatedRouter(t *testing.T) {
	ctx := t.Context()
	var mu gosync.Mutex
	records := make(map[string][]byte)
	router := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, found := strings.CutPrefix(r.URL.Path, "/routing/v1/ipns/")
		body, err := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		switch {
		case !found || err != nil:
			w.WriteHeader(http.StatusBadRequest)
		case r.Method == http.MethodPut:
			records[name] = body
		case records[name] == nil:
			w.WriteHeader(http.StatusNotFound)
		default:
			w.Header().Set("Content-Type", "application/vnd.ipfs.ipns-record")
			w.Write(records[name])
		}
	}))
	defer router.Close()
	broken := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/vnd.ipfs.ipns-record")
		w.Write([]byte("no record"))
	}))
	defer broken.Close()
	config := cairn.Config{Routing: cairn.RoutingDelegated, Delegated: []string{router.URL, broken.URL}}
	alice := calling(t, config)
	first, err := alice.PublishName(ctx, "", pathA, cairn.PublishOptions{})
	if err != nil {
		t.Fatalf("publish: got %+v, %v", first, err)
	}
	bob := calling(t, config)
	r, err := bob.ResolveName(ctx, first.Name, cairn.ResolveOptions{})
	if err != nil || r.Path != pathA || !strings.Contains(router.URL, r.Steps[0].From) {
		t.Errorf("resolve: got %+v, %v", r, err)
	}
	second, err := alice.PublishName(ctx, "", pathB, cairn.PublishOptions{})
	if err != nil || second.Sequence != first.Sequence+1 {
		t.Errorf("publish again: got %+v, %v", second, err)
	}
	if r, err := bob.ResolveName(ctx, first.Name, cairn.ResolveOptions{Latest: true}); err != nil || r.Path != pathB {
		t.Errorf("resolve again: got %+v, %v", r, err)
	}
	router.Close()
	stranded := calling(t, config)
	if _, err := stranded.ResolveName(ctx, first.Name, cairn.ResolveOptions{}); !errors.Is(err, cairn.ErrNameNotFound) {
		t.Errorf("resolve without the router: got %v, want ErrNameNotFound", err)
	}
	if r, err := stranded.PublishName(ctx, "", pathA, cairn.PublishOptions{}); !errors.Is(err, cairn.ErrNotSent) || r.Value != pathA {
		t.Errorf("publish without the router: got %+v, %v, want ErrNotSent", r, err)
	}
}

func TestNameRecordsRefused(t *testing.T) {
	ctx := t.Context()
	n := calling(t, cairn.Config{Offline: true})
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	made := func(f names.Fields) (string, []byte) {
		t.Helper()
		if f.Validity.IsZero() {
			f.Validity = time.Now().Add(time.Hour)
		}
		r, err := names.NewRecord(key, f)
		if err != nil {
			t.Fatal(err)
		}
		return r.Name().String(), r.Bytes()
	}
	name, good := made(names.Fields{Value: pathA, Sequence: 7})
	_, expired := made(names.Fields{Value: pathA, Sequence: 9, Validity: time.Now().Add(-time.Hour)})
	_, old := made(names.Fields{Value: pathB, Sequence: 6})
	forged := bytes.Replace(good, []byte(pathA[len(pathA)-20:]), []byte(pathB[len(pathB)-20:]), -1)
	if bytes.Equal(forged, good) {
		t.Fatal("the forgery is none")
	}
	keys, err := n.Keys()
	if err != nil {
		t.Fatal(err)
	}
	other, err := keys.Generate("other")
	if err != nil {
		t.Fatal(err)
	}
	if r, err := n.PutNameRecord(ctx, name, good); !errors.Is(err, cairn.ErrNotSent) || !errors.Is(err, cairn.ErrOffline) || r.Sequence != 7 {
		t.Fatalf("put: got %+v, %v", r, err)
	}
	for what, c := range map[string]struct {
		name string
		raw  []byte
		want error
	}{
		"expired":   {name, expired, cairn.ErrNameExpired},
		"old":       {name, old, cairn.ErrRollback},
		"forged":    {name, forged, cairn.ErrNameInvalid},
		"wrong key": {other.ID, good, cairn.ErrNameInvalid},
		"cut":       {name, good[:len(good)/2], cairn.ErrNameInvalid},
		"oversized": {name, append(bytes.Clone(good), make([]byte, cairn.MaxNameRecord)...), cairn.ErrNameInvalid},
		"nothing":   {name, nil, cairn.ErrNameInvalid},
		"no name":   {"hello", good, cairn.ErrNameNotFound},
	} {
		if _, err := n.PutNameRecord(ctx, c.name, c.raw); !errors.Is(err, c.want) || errors.Is(err, cairn.ErrNotSent) {
			t.Errorf("%s: got %v, want %v", what, err, c.want)
		}
	}
	// None of them changed anything.
	r, err := n.NameRecord(ctx, name, cairn.ResolveOptions{})
	if err != nil || !bytes.Equal(r.Raw, good) || r.Valid(time.Now()) != nil {
		t.Errorf("the record: got %+v, %v", r, err)
	}
	read, err := cairn.ParseNameRecord(name, expired)
	if err != nil || read.Sequence != 9 || !errors.Is(read.Valid(time.Now()), cairn.ErrNameExpired) {
		t.Errorf("read an expired one: got %+v, %v", read, err)
	}
}

// The highest sequence and published records survive a restart.
func TestNamesAfterRestart(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	n := calling(t, cairn.Config{Dir: dir, Offline: true})
	first := unsent(t, n, "", pathA, cairn.PublishOptions{Sequence: 40})
	second := unsent(t, n, cairn.SelfKey, pathB, cairn.PublishOptions{})
	if second.Sequence != 41 {
		t.Errorf("the next sequence: got %d, want 41", second.Sequence)
	}
	if _, err := n.PublishName(ctx, "", pathA, cairn.PublishOptions{Sequence: 41}); !errors.Is(err, cairn.ErrRollback) {
		t.Errorf("a sequence again: got %v, want ErrRollback", err)
	}
	if r, err := n.PublishName(ctx, "", pathB, cairn.PublishOptions{Offline: true}); err != nil || r.Sequence != 42 {
		t.Errorf("publish for later: got %+v, %v", r, err)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	n = calling(t, cairn.Config{Dir: dir})
	if _, err := n.PutNameRecord(ctx, first.Name, first.Raw); !errors.Is(err, cairn.ErrRollback) {
		t.Errorf("an old record: got %v, want ErrRollback", err)
	}
	r, err := n.ResolveName(ctx, first.Name, cairn.ResolveOptions{})
	if err != nil || r.Path != pathB || r.Steps[0].From != "remembered" {
		t.Errorf("resolve: got %+v, %v", r, err)
	}
	if third := unsent(t, n, "", pathA, cairn.PublishOptions{}); third.Sequence != 43 {
		t.Errorf("the next sequence: got %d, want 43", third.Sequence)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := n.ResolveName(ctx, first.Name, cairn.ResolveOptions{}); err == nil {
		t.Error("resolved by a node that is closed")
	}
}

// A lookup fails soon if there is nothing to query.
func TestNamesWithoutNetwork(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	other := calling(t, cairn.Config{Offline: true})
	keys, err := other.Keys()
	if err != nil {
		t.Fatal(err)
	}
	key, err := keys.Info(cairn.SelfKey)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range []cairn.ResolveOptions{{}, {Latest: true}, {Offline: true}} {
		alone := calling(t, cairn.Config{})
		if _, err := alone.ResolveName(ctx, key.ID, o); !errors.Is(err, cairn.ErrNameNotFound) || errors.Is(err, cairn.ErrOffline) {
			t.Errorf("%+v, with no peers: got %v, want ErrNameNotFound", o, err)
		}
		offline := calling(t, cairn.Config{Offline: true})
		for _, name := range []string{key.ID, "example.org"} {
			if _, err := offline.ResolveName(ctx, name, o); !errors.Is(err, cairn.ErrNameNotFound) || !errors.Is(err, cairn.ErrOffline) {
				t.Errorf("%+v, %s offline: got %v, want ErrNameNotFound and ErrOffline", o, name, err)
			}
		}
		if _, err := offline.NameRecord(ctx, key.ID, o); !errors.Is(err, cairn.ErrNameNotFound) || !errors.Is(err, cairn.ErrOffline) {
			t.Errorf("%+v, the record, offline: got %v, want ErrNameNotFound and ErrOffline", o, err)
		}
	}
	if err := other.FollowName(ctx, key.ID); err != nil {
		t.Errorf("follow, offline: %v", err)
	}
}

// dnsServer serves TXT records on this machine: the texts of each name.
func dnsServer(t *testing.T, texts map[string]string) (addr string) {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &dns.Server{PacketConn: conn, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		if text, found := texts[q.Question[0].Name]; found {
			m.Answer = append(m.Answer, &dns.TXT{
				Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: 60},
				Txt: []string{"dnslink=" + text},
			})
		} else {
			m.Rcode = dns.RcodeNameError
		}
		_ = w.WriteMsg(m) // the resolver asks again
	})}
	done := make(chan error, 1)
	go func() { done <- s.ActivateAndServe() }()
	t.Cleanup(func() {
		conn.Close()
		<-done
	})
	return conn.LocalAddr().String()
}

func TestDNSLinks(t *testing.T) {
	ctx := t.Context()
	identity, public, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	id, err := names.NameOf(public)
	if err != nil {
		t.Fatal(err)
	}
	server := dnsServer(t, map[string]string{
		"_dnslink.plain.example.": pathA + "/docs",
		"_dnslink.ring.example.":  "/ipns/ring2.example",
		"_dnslink.ring2.example.": "/ipns/ring.example/x",
		"_dnslink.key.example.":   "/ipns/" + id.String(),
	})
	n := calling(t, cairn.Config{Identity: identity, DNS: cairn.DNS{
		Servers: []string{server}, Static: map[string]string{"fixed.example": pathB},
	}})
	unsent(t, n, "", pathB, cairn.PublishOptions{})
	for _, c := range []struct {
		in, path, from string
		steps          int
		want           error
	}{
		{in: "plain.example/a", path: pathA + "/docs/a", from: "dns", steps: 1},
		{in: "/ipns/key.example", path: pathB, from: "here", steps: 2},
		{in: "ipns://fixed.example/a", path: pathB + "/a", from: "static", steps: 1},
		{in: "/ipns/nothing.example", want: cairn.ErrNameNotFound},
		{in: "/ipns/ring.example", want: cairn.ErrNameLoop},
		{in: "/ipns/not a domain", want: cairn.ErrNameInvalid},
		{in: "no-such-key", want: cairn.ErrNameNotFound},
		{in: "/ipfs/nonsense", want: cairn.ErrNameInvalid},
		{in: pathA, path: pathA},
	} {
		r, err := n.ResolveName(ctx, c.in, cairn.ResolveOptions{})
		if !errors.Is(err, c.want) || r.Path != c.path || len(r.Steps) != c.steps {
			t.Errorf("%s: got %+v, %v", c.in, r, err)
			continue
		}
		if c.steps > 0 && r.Steps[c.steps-1].From != c.from {
			t.Errorf("%s: from %q, want %q", c.in, r.Steps[c.steps-1].From, c.from)
		}
	}
}

// A key moves from one node to another, which signs above the first one's sequence.
func TestKeysOfNodes(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	alice := calling(t, cairn.Config{Dir: dir, KeyPassphrase: "correct horse", Offline: true})
	keys, err := alice.Keys()
	if err != nil {
		t.Fatal(err)
	}
	made, err := keys.Generate("site")
	if err != nil || !made.Encrypted {
		t.Fatalf("generate: got %+v, %v, want one that is encrypted", made, err)
	}
	var listed []string
	for k, err := range keys.List() {
		if err != nil {
			t.Fatal(err)
		}
		listed = append(listed, k.Name)
	}
	if got := strings.Join(listed, " "); got != "self site" {
		t.Errorf("list: got %q, want self site", got)
	}
	if info, err := os.Stat(filepath.Join(dir, "keys")); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o700 {
		t.Errorf("the folder of the keys: got %v, %v", info, err)
	}
	first := unsent(t, alice, made.ID, pathA, cairn.PublishOptions{})
	pem, err := keys.Export("site", cairn.KeyPEM)
	if err != nil || !bytes.HasPrefix(pem, []byte("-----BEGIN PRIVATE KEY-----")) {
		t.Fatalf("export: got %.40q, %v", pem, err)
	}
	if err := alice.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := alice.Keys(); err == nil {
		t.Error("got keys of a node that is closed")
	}
	forgetful := calling(t, cairn.Config{Dir: dir, Offline: true})
	if _, err := forgetful.PublishName(ctx, "site", pathB, cairn.PublishOptions{}); !errors.Is(err, cairn.ErrPassphrase) {
		t.Errorf("publish without the passphrase: got %v, want ErrPassphrase", err)
	}

	bob := calling(t, cairn.Config{Offline: true})
	theirs, err := bob.Keys()
	if err != nil {
		t.Fatal(err)
	}
	if k, err := theirs.Import("mine", pem); err != nil || k.ID != made.ID || k.Encrypted {
		t.Fatalf("import: got %+v, %v", k, err)
	}
	if _, err := theirs.Import("again", pem); !errors.Is(err, cairn.ErrKeyExists) {
		t.Errorf("import twice: got %v, want ErrKeyExists", err)
	}
	if _, err := bob.PutNameRecord(ctx, "mine", first.Raw); !errors.Is(err, cairn.ErrNotSent) {
		t.Fatal(err)
	}
	if r := unsent(t, bob, "mine", pathB, cairn.PublishOptions{}); r.Sequence <= first.Sequence {
		t.Errorf("sequence: got %d, want one above %d", r.Sequence, first.Sequence)
	}
	if k, err := theirs.Rename("mine", "ours"); err != nil || k.Name != "ours" {
		t.Errorf("rename: got %+v, %v", k, err)
	}
	if k, err := theirs.Remove(made.ID); err != nil || k.Name != "ours" {
		t.Errorf("remove: got %+v, %v", k, err)
	}
	if _, err := theirs.Info("ours"); !errors.Is(err, cairn.ErrKeyNotFound) {
		t.Errorf("a key that was removed: got %v, want ErrKeyNotFound", err)
	}
	if _, err := theirs.Remove(cairn.SelfKey); !errors.Is(err, cairn.ErrSelfKey) {
		t.Errorf("remove the identity: got %v, want ErrSelfKey", err)
	}
	id, _ := bob.ID(ctx)
	if k, err := theirs.Info(id.String()); err != nil || k.Name != cairn.SelfKey {
		t.Errorf("the identity: got %+v, %v", k, err)
	}
}

// A rebuild from the packs keeps the sequences of names.
func TestRebuildNames(t *testing.T) {
	ctx := t.Context()
	c := cairn.Config{Dir: t.TempDir(), Offline: true}
	n := calling(t, c)
	keys, err := n.Keys()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keys.Generate("site"); err != nil {
		t.Fatal(err)
	}
	var mine []cairn.NameRecord
	for range 3 {
		mine = append(mine, unsent(t, n, "site", pathA, cairn.PublishOptions{}))
	}
	theirs := calling(t, cairn.Config{Offline: true})
	old, latest := unsent(t, theirs, "", pathA, cairn.PublishOptions{}), unsent(t, theirs, "", pathB, cairn.PublishOptions{})
	if err := n.FollowName(ctx, latest.Name); err != nil {
		t.Fatal(err)
	}
	if _, err := n.PutNameRecord(ctx, latest.Name, latest.Raw); !errors.Is(err, cairn.ErrNotSent) {
		t.Fatal(err)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := cairn.Rebuild(ctx, c, nil); err != nil {
		t.Fatal(err)
	}
	n = calling(t, c)
	if r, err := n.ResolveName(ctx, mine[0].Name, cairn.ResolveOptions{Offline: true}); err != nil || r.Path != pathA || r.Steps[0].Record.Sequence != 2 {
		t.Errorf("resolve: got %+v, %v, want %s of sequence 2", r, err, pathA)
	}
	for what, r := range map[string]cairn.NameRecord{"our own": mine[1], "a followed name's": old} {
		if _, err := n.PutNameRecord(ctx, r.Name, r.Raw); !errors.Is(err, cairn.ErrRollback) {
			t.Errorf("an old record of %s: got %v, want ErrRollback", what, err)
		}
	}
	if r := unsent(t, n, "site", pathB, cairn.PublishOptions{}); r.Sequence != 3 {
		t.Errorf("published again: got sequence %d, want 3", r.Sequence)
	}
}
