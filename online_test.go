package cairn_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"testing/fstest"
	"time"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/store"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
)

// loopback is the address that nodes of tests listen on.
var loopback = []string{"/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1"}

// listening opens a node that listens.
func listening(t *testing.T, c cairn.Config) (n *cairn.Node, addr string) {
	t.Helper()
	c.Local = true
	if c.Listen == nil {
		c.Listen = loopback
	}
	n, err := cairn.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	addrs, err := n.Addrs(t.Context())
	if err != nil || len(addrs) == 0 {
		t.Fatalf("addresses: got %v, %v", addrs, err)
	}
	return n, addrs[0].String()
}

func calling(t *testing.T, c cairn.Config) *cairn.Node {
	t.Helper()
	c.Local = true
	n, err := cairn.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

func syncDAG(t *testing.T, n *cairn.Node, root cid.Cid, o cairn.SyncOptions) (cairn.SyncProgress, error) {
	t.Helper()
	var last cairn.SyncProgress
	for p, err := range n.Sync(t.Context(), root, o) {
		if last = p; err != nil {
			return last, err
		}
	}
	return last, nil
}

func TestTwoNodes(t *testing.T) {
	ctx := t.Context()
	theirs, addr := listening(t, cairn.Config{})
	data := make([]byte, 20<<20)
	rand.NewChaCha8([32]byte{}).Read(data)
	added, err := theirs.Add(ctx, bytes.NewReader(data), cairn.AddOptions{})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	ours := calling(t, cairn.Config{Dir: dir})
	p, err := syncDAG(t, ours, added.CID, cairn.SyncOptions{From: []string{addr}, Alias: "got"})
	if err != nil || !p.Done || p.Bytes < 20<<20 || p.DuplicateBytes > 0 {
		t.Fatalf("sync: got %+v, %v", p, err)
	}
	f, err := ours.OpenFile(ctx, added.CID)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(f)
	if err != nil || !bytes.Equal(got, data) {
		t.Fatalf("read: got %d bytes, %v", len(got), err)
	}
	f.Close()

	// The other direction, over the same connection.
	back, err := ours.Add(ctx, bytes.NewReader(data[:100]), cairn.AddOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if b, err := theirs.Fetch(ctx, back.CID); err != nil || b.Size() != 100 {
		t.Errorf("fetch: got %d bytes, %v", b.Size(), err)
	}
	// A block that no node has.
	nowhere, err := block.New(block.Raw, []byte("nowhere"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := theirs.Fetch(ctx, nowhere.CID()); !errors.Is(err, cairn.ErrNoSource) || !errors.Is(err, block.ErrNotFound) {
		t.Errorf("fetch of a missing block: got %v, want ErrNoSource", err)
	}

	peers, err := ours.Peers(ctx)
	id, _ := theirs.ID(ctx)
	if err != nil || len(peers) != 1 || peers[0].ID != id || !peers[0].Connected || peers[0].Inbound {
		t.Errorf("peers: got %+v, %v", peers, err)
	}
	for d, err := range ours.Ping(ctx, id) {
		if err != nil || d <= 0 {
			t.Errorf("ping: got %v, %v", d, err)
		}
		break
	}
	before, err := ours.ID(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(dir, "identity")); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("the identity's file: got %v, %v", info, err)
	}
	if err := ours.Close(); err != nil {
		t.Fatal(err)
	}
	ours = calling(t, cairn.Config{Dir: dir})
	if after, err := ours.ID(ctx); err != nil || after != before {
		t.Errorf("the id, opened again: got %s, %v, want %s", after, err, before)
	}
}

// A new version transfers only the difference.
func TestSyncVersions(t *testing.T) {
	ctx := t.Context()
	theirs, addr := listening(t, cairn.Config{})
	tree := fstest.MapFS{}
	rng := rand.NewChaCha8([32]byte{1})
	for i := range 1000 {
		data := make([]byte, 2000)
		rng.Read(data)
		tree[filepath.ToSlash(filepath.Join("d", string(rune('a'+i%26)), string(rune('a'+i/26%26)), string(rune('a'+i/676))))+"x"] = &fstest.MapFile{Data: data}
	}
	first, err := theirs.AddFS(ctx, tree, cairn.AddOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ours := calling(t, cairn.Config{})
	if _, err := syncDAG(t, ours, first.CID, cairn.SyncOptions{From: []string{addr}, Alias: "site"}); err != nil {
		t.Fatal(err)
	}
	tree["new"] = &fstest.MapFile{Data: []byte("new")}
	second, err := theirs.AddFS(ctx, tree, cairn.AddOptions{})
	if err != nil {
		t.Fatal(err)
	}
	p, err := syncDAG(t, ours, second.CID, cairn.SyncOptions{From: []string{addr}, Alias: "site"})
	if err != nil || p.Blocks != 2 || p.Duplicates > 0 {
		t.Errorf("got %+v, %v, want 2 blocks", p, err)
	}
	if root, _ := ours.Resolve(ctx, "site"); root != second.CID {
		t.Errorf("the alias: got %s, want %s", root, second.CID)
	}
}

// An HTTP gateway is a source, at once or as a fallback.
func TestSyncFromGateway(t *testing.T) {
	ctx := t.Context()
	theirs, err := cairn.Open(ctx, cairn.Config{Offline: true})
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	server := httptest.NewServer(theirs.Gateway())
	defer server.Close()
	data := make([]byte, 5<<20)
	rand.NewChaCha8([32]byte{2}).Read(data)
	added, err := theirs.Add(ctx, bytes.NewReader(data), cairn.AddOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		config cairn.Config
		o      cairn.SyncOptions
	}{
		{cairn.Config{}, cairn.SyncOptions{From: []string{server.URL}, OnlyFrom: true}},
		{cairn.Config{Gateways: []string{server.URL}, FallbackDelay: 10 * time.Millisecond}, cairn.SyncOptions{}},
	} {
		n := calling(t, c.config)
		p, err := syncDAG(t, n, added.CID, c.o)
		if err != nil || !p.Done || p.Blocks != 6 {
			t.Errorf("got %+v, %v, want 6 blocks", p, err)
		}
		if root, err := n.Resolve(ctx, cairn.PinName(added.CID)); err != nil || root != added.CID {
			t.Errorf("the pin: got %s, %v", root, err)
		}
	}
}

// TestBanLasts bans a peer, reopens the node, and unbans the peer.
func TestBanLasts(t *testing.T) {
	ctx := t.Context()
	theirs, addr := listening(t, cairn.Config{})
	id, err := theirs.ID(ctx)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	reopened := func(want []peer.ID, change func(*cairn.Node) error) {
		t.Helper()
		n := calling(t, cairn.Config{Dir: dir})
		if got, err := n.Banned(ctx); err != nil || !slices.Equal(got, want) {
			t.Errorf("banned: got %v, %v, want %v", got, err, want)
		}
		if _, err := n.Connect(ctx, addr); (err == nil) != (len(want) == 0) {
			t.Errorf("connect, with %v banned: got %v", want, err)
		}
		if err := errors.Join(change(n), n.Close()); err != nil {
			t.Error(err)
		}
	}
	reopened(nil, func(n *cairn.Node) error { return n.Ban(ctx, id) })
	reopened([]peer.ID{id}, func(n *cairn.Node) error { return n.Unban(ctx, id) })
	reopened(nil, func(n *cairn.Node) error { return nil })
}

// TestTopicValid joins a topic and rejects one of its messages.
func TestTopicValid(t *testing.T) {
	ctx := t.Context()
	theirs, addr := listening(t, cairn.Config{})
	ours := calling(t, cairn.Config{})
	if _, err := ours.Connect(ctx, addr); err != nil {
		t.Fatal(err)
	}
	id, err := ours.ID(ctx)
	if err != nil {
		t.Fatal(err)
	}
	strict, err := theirs.Topic(ctx, "news", cairn.TopicOptions{Valid: func(_ context.Context, m cairn.Message) bool {
		return m.From == id && string(m.Data) != "bad"
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer strict.Close()
	topic, err := ours.Topic(ctx, "news", cairn.TopicOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer topic.Close()
	for _, data := range []string{"bad", "good"} {
		if n, err := topic.Broadcast(ctx, []byte(data)); n != 1 || err != nil {
			t.Errorf("broadcast: got %d, %v", n, err)
		}
	}
	for m, err := range strict.Messages(ctx) {
		if err != nil || string(m.Data) != "good" {
			t.Errorf("got %q, %v, want what is good", m.Data, err)
		}
		break
	}
	if err := strict.Publish(ctx, []byte("bad")); err == nil {
		t.Error("publish what is refused: got no error")
	}
}

func TestOffline(t *testing.T) {
	n, err := cairn.Open(t.Context(), cairn.Config{Offline: true, Listen: loopback})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	if _, err := n.Addrs(t.Context()); !errors.Is(err, cairn.ErrOffline) {
		t.Errorf("addresses: got %v, want ErrOffline", err)
	}
	k, _ := block.New(block.Raw, []byte("x"))
	if _, err := n.Fetch(t.Context(), k.CID()); !errors.Is(err, cairn.ErrOffline) {
		t.Errorf("fetch: got %v, want ErrOffline", err)
	}
	for _, bad := range []cairn.Config{
		{Bootstrap: []string{"/ip4/127.0.0.1/tcp/1"}}, {Gateways: []string{"ftp://x"}}, {Listen: []string{"nonsense"}},
	} {
		bad.Local = true
		n := calling(t, cairn.Config{})
		if bad.Listen == nil {
			bad.Listen = loopback
		}
		if m, err := cairn.Open(t.Context(), bad); err == nil {
			m.Close()
			t.Errorf("%+v: got no error", bad)
		}
		if _, err := syncDAG(t, n, k.CID(), cairn.SyncOptions{From: []string{"/ip4/127.0.0.1/tcp/1"}}); !errors.Is(err, cairn.ErrAddress) {
			t.Errorf("sync from a bad address: got %v, want ErrAddress", err)
		}
	}
	m := calling(t, cairn.Config{})
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Addrs(t.Context()); !errors.Is(err, store.ErrClosed) {
		t.Errorf("after Close: got %v, want ErrClosed", err)
	}
}

// A closed node leaves no goroutines and no open files.
func TestOpenAndClose(t *testing.T) {
	rounds := 128
	if testing.Short() {
		rounds = 16
	}
	// Its DHT does not go on dialing peers that have left.
	_, addr := listening(t, cairn.Config{Routing: cairn.RoutingNone})
	before, files := 0, 0
	for i := range rounds {
		n, err := cairn.Open(t.Context(), cairn.Config{Local: true, Listen: loopback})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := n.Connect(t.Context(), addr); err != nil {
			t.Fatal(err)
		}
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
		if i == 3 { // what is made once exists now
			before, files = settled(runtime.NumGoroutine), settled(descriptors)
		}
	}
	if after := settledAt(runtime.NumGoroutine, before); after > before {
		t.Errorf("%d goroutines, of %d before", after, before)
	}
	if after := settledAt(descriptors, files); after > files {
		t.Errorf("%d descriptors are open, of %d before", after, files)
	}
}

// settled waits until a count stays the same for a while.
func settled(count func() int) int {
	last := count()
	for same := 0; same < 10; same++ {
		time.Sleep(20 * time.Millisecond)
		if now := count(); now != last {
			last, same = now, 0
		}
	}
	return last
}

// settledAt waits up to a minute until a count is down to its former value.
func settledAt(count func() int, want int) int {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for count() > want && ctx.Err() == nil {
		time.Sleep(20 * time.Millisecond)
	}
	return count()
}

// descriptors returns the number of open files; 0 if unknown.
func descriptors() int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(entries)
}
