package cairn_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"runtime/metrics"
	"slices"
	"strings"
	gosync "sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/dag"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/multiformats/go-multihash"
)

const (
	// hostilePeers attack at the same time, hostileShort in a short run, each with
	// hostileWants wants and up to hostileStreams streams.
	hostilePeers   = 64
	hostileShort   = 16
	hostileWants   = 1_000_000
	hostileStreams = 1000

	// hostileWait is their timeout for opening a stream, and for a write.
	hostileWait = 20 * time.Millisecond

	// besiegedFor is the least time of measuring.
	besiegedFor = 3 * time.Second
	// besiegedSamples is the number of samples, of which one in ten may be an outlier.
	besiegedSamples = 20

	// memoryEach and memoryInAll bound the memory that they may occupy, in bytes.
	memoryEach  = 8 << 20
	memoryInAll = 256 << 20

	// memoryLeft bounds what may be left of one that has gone.
	memoryLeft = 2 << 20

	// A node is at rest when restTurns collections free less than memoryRest.
	memoryRest = 64 << 10
	restTurns  = 20

	bitswapProtocol = protocol.ID("/ipfs/bitswap/1.2.0")
	httpProtocol    = protocol.ID("/http/1.1")
)

// besieged is the environment variable of the attacked process.
const besieged = "CAIRN_TEST_BESIEGED"

// A siege is the state that the attacked process reports.
type siege struct {
	Addrs  []string // TCP and QUIC
	Root   string
	Leaves []string // of the root
	Dirs   []string // with besiegedFiles entries each, disjoint
	Heap   uint64   // bytes of objects, after a collection
}

// TestBesieged has 64 peers attack a node in a process of its own. Each wants a
// million blocks, opens thousands of streams, begins requests without ending them,
// does not read what it requested, and sends messages that stop in the middle. The
// node's memory stays within its bounds, and another peer fetches 64 MiB meanwhile.
func TestBesieged(t *testing.T) {
	if os.Getenv(besieged) != "" {
		holdOut(t)
		return
	}
	ask := besiege(t)
	victim := ask()
	root, err := cid.Decode(victim.Root)
	if err != nil {
		t.Fatal(err)
	}
	// The cost of idle peers is subtracted.
	for _, addr := range victim.Addrs {
		n := calling(t, cairn.Config{Dir: t.TempDir()})
		for _, name := range append(victim.Dirs, victim.Root) {
			c, err := cid.Decode(name)
			if err == nil {
				_, err = syncDAG(t, n, c, cairn.SyncOptions{From: []string{addr}, OnlyFrom: true})
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
	}
	heap := func() int64 { return int64(ask().Heap) }
	rest := func() int64 { // once collections free nothing more
		least, same := heap(), 0
		for ; same < restTurns; same++ {
			if now := heap(); now < least-memoryRest {
				least, same = now, 0
			}
		}
		return least
	}
	flood := hostileMessages(t, victim.Leaves)

	for _, addr := range victim.Addrs {
		base := rest()
		one := newAttack(t, []string{addr}, victim, flood, 1)
		one.established(t)
		var samples []int64
		for began := time.Now(); time.Since(began) < besiegedFor || len(samples) < besiegedSamples; {
			samples = append(samples, heap()-base)
		}
		// Some samples include short-lived objects.
		slices.Sort(samples)
		grown := samples[len(samples)*9/10]
		if grown > memoryEach {
			t.Errorf("one hostile peer at %s: the node's heap grew by %d bytes, want %d at most", addr, grown, memoryEach)
		}
		t.Logf("one hostile peer at %s: the heap grew by %.1f MiB, and by %.1f at most; %s", addr, float64(grown)/(1<<20), float64(samples[len(samples)-1])/(1<<20), one)
		one.end()
		eventually(t, "what a hostile peer took is given back", func() bool { return heap()-base <= memoryLeft })
	}

	peers := hostilePeers
	if testing.Short() {
		peers = hostileShort
	}
	base := rest()
	all := newAttack(t, victim.Addrs, victim, flood, peers)
	all.established(t)
	honest := calling(t, cairn.Config{Dir: t.TempDir()})
	synced := make(chan error, 1)
	began := time.Now()
	go func() {
		p, err := syncDAG(t, honest, root, cairn.SyncOptions{From: victim.Addrs[:1], OnlyFrom: true})
		if err == nil && (!p.Done || p.Bytes < besiegedSize) {
			err = fmt.Errorf("got %d bytes, done %v", p.Bytes, p.Done)
		}
		synced <- err
	}()
	most := int64(0)
	for done := false; !done; {
		select {
		case err := <-synced:
			if err != nil {
				t.Errorf("the honest peer: %v", err)
			}
			done = true
		default:
		}
		most = max(most, heap()-base)
	}
	took := time.Since(began)
	for time.Since(began) < besiegedFor {
		most = max(most, heap()-base)
	}
	if most > memoryInAll {
		t.Errorf("%d hostile peers: the node's heap grew by %d bytes, want %d at most", peers, most, memoryInAll)
	}
	t.Logf("%d hostile peers: the heap grew by %.1f MiB at most; %s; an honest one got %d MiB in %v",
		peers, float64(most)/(1<<20), all, besiegedSize>>20, took.Round(time.Millisecond))
	all.end()
}

// besiegedSize is the size of the file that the honest peer fetches, in bytes.
const besiegedSize = 64 << 20

// besiegedFiles is the number of files in each of two directories that hostile peers
// request the difference of.
const besiegedFiles = 10_000

// holdOut runs the attacked process: for each line that it reads, it reports its
// state.
func holdOut(t *testing.T) {
	n, _ := listening(t, cairn.Config{Dir: t.TempDir(), Providing: cairn.ProvideNone, Listen: []string{"/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1"}})
	var addrs []string
	for _, part := range []string{"/tcp/", "/quic-v1/"} {
		all, err := n.Addrs(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range all {
			if strings.Contains(a.String(), part) {
				addrs = append(addrs, a.String())
			}
		}
	}
	if len(addrs) != 2 {
		t.Fatalf("addresses: got %v, want two", addrs)
	}
	data := make([]byte, besiegedSize)
	rand.NewChaCha8([32]byte{7}).Read(data)
	added, err := n.Add(t.Context(), bytes.NewReader(data), cairn.AddOptions{})
	if err != nil {
		t.Fatal(err)
	}
	root, err := n.Get(t.Context(), added.CID)
	if err != nil {
		t.Fatal(err)
	}
	links, err := dag.Links(root)
	if err != nil {
		t.Fatal(err)
	}
	var leaves []string
	for _, c := range links {
		leaves = append(leaves, c.String())
	}
	var dirs []string
	for _, what := range []string{"old", "new"} {
		files := make(fstest.MapFS, besiegedFiles)
		for i := range besiegedFiles {
			files[fmt.Sprint(i)] = &fstest.MapFile{Data: fmt.Append(nil, what, i)}
		}
		added, err := n.AddFS(t.Context(), files, cairn.AddOptions{})
		if err != nil {
			t.Fatal(err)
		}
		dirs = append(dirs, added.CID.String())
	}
	data = nil
	// Otherwise it would do so during the attack.
	if err := n.Store().Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	out := json.NewEncoder(os.Stdout)
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		// What is allocated while the collector marks counts as live: the minimum of
		// some collections is what was live all the time.
		sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
		live := uint64(math.MaxUint64)
		for range 4 {
			runtime.GC()
			metrics.Read(sample)
			live = min(live, sample[0].Value.Uint64())
		}
		if err := out.Encode(siege{addrs, added.CID.String(), leaves, dirs, live}); err != nil {
			t.Fatal(err)
		}
	}
}

// besiege starts that process, and returns a function that queries it.
func besiege(t *testing.T) (ask func() siege) {
	t.Helper()
	c := exec.Command(os.Args[0], "-test.run=^TestBesieged$")
	c.Env = append(os.Environ(), besieged+"=1")
	c.Stderr = os.Stderr
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	t.Cleanup(func() {
		in.Close()
		rest, _ := io.ReadAll(lines)
		if err := c.Wait(); err != nil {
			t.Errorf("the node that was attacked: %v\n%s", err, rest)
		}
	})
	return func() (s siege) {
		t.Helper()
		if _, err := io.WriteString(in, "\n"); err != nil {
			t.Fatal(err)
		}
		line, err := lines.ReadBytes('\n')
		if err == nil {
			err = json.Unmarshal(line, &s)
		}
		if err != nil {
			t.Fatalf("the node that is attacked said %q: %v", line, err)
		}
		return s
	}
}

// wantsEach is the number of wants in a hostile message.
const wantsEach = 10_000

// hostileMessages are encoded bitswap messages that want existing blocks, and then a
// million blocks that do not exist.
func hostileMessages(t *testing.T, there []string) [][]byte {
	var all [][]byte
	add := func(entries []byte) {
		// Message: wantlist 1, of entries 1.
		message := append(binary.AppendUvarint([]byte{0x0a}, uint64(len(entries))), entries...)
		all = append(all, append(binary.AppendUvarint(nil, uint64(len(message))), message...))
	}
	random := rand.NewChaCha8([32]byte{9})
	var digest [32]byte
	// Entry: block 1, priority 2, sendDontHave 5.
	entryOf := func(c cid.Cid) []byte {
		k := c.Bytes()
		entry := append([]byte{0x0a, byte(len(k))}, k...)
		entry = append(entry, 0x10, 1, 0x28, 1)
		return append([]byte{0x0a, byte(len(entry))}, entry...)
	}
	var first []byte
	for _, name := range there {
		c, err := cid.Decode(name)
		if err != nil {
			t.Fatal(err)
		}
		first = append(first, entryOf(c)...)
	}
	add(first)
	for range hostileWants / wantsEach {
		var entries []byte
		for range wantsEach {
			random.Read(digest[:])
			mh, _ := multihash.Encode(digest[:], multihash.SHA2_256) // it never fails
			entries = append(entries, entryOf(cid.NewCidV1(block.Raw, mh))...)
		}
		add(entries)
	}
	return all
}

// An attack is the running attack of hostile peers.
type attack struct {
	ctx    context.Context
	cancel context.CancelFunc
	hosts  []host.Host
	doing  gosync.WaitGroup
	ready  gosync.WaitGroup // until each has attacked once

	wants, streams, refused atomic.Int64
}

func (a *attack) String() string {
	return fmt.Sprintf("they sent %d wants and had %d streams, and %d refused", a.wants.Load(), a.streams.Load(), a.refused.Load())
}

// newAttack starts peers that attack the addresses of a node in turn.
func newAttack(t *testing.T, addrs []string, victim siege, flood [][]byte, peers int) *attack {
	t.Helper()
	a := &attack{}
	a.ctx, a.cancel = context.WithCancel(t.Context())
	for i := range peers {
		info, err := peer.AddrInfoFromString(addrs[i%len(addrs)])
		if err != nil {
			t.Fatal(err)
		}
		h, err := libp2p.New(libp2p.NoListenAddrs, libp2p.DisableMetrics(), libp2p.DisableRelay(),
			libp2p.ResourceManager(&network.NullResourceManager{}))
		if err != nil {
			t.Fatal(err)
		}
		a.hosts = append(a.hosts, h)
		h.SetStreamHandler(bitswapProtocol, func(s network.Stream) { <-a.ctx.Done() }) // it never reads
		if err := h.Connect(a.ctx, *info); err != nil {
			t.Fatal(err)
		}
		a.ready.Add(2)
		a.doing.Go(func() { a.flood(h, info.ID, flood) })
		a.doing.Go(func() { a.hold(h, info.ID, victim) })
	}
	t.Cleanup(a.end)
	return a
}

// established waits until all have sent wants, and opened as many streams as they
// can.
func (a *attack) established(t *testing.T) {
	t.Helper()
	a.ready.Wait()
	if a.streams.Load() == 0 {
		t.Errorf("nobody was attacked: %s", a)
	}
}

// end ends the attack, and waits.
func (a *attack) end() {
	a.cancel()
	for _, h := range a.hosts {
		_ = h.Close()
	}
	a.doing.Wait()
}

// flood sends a million wants, over and over.
func (a *attack) flood(h host.Host, victim peer.ID, messages [][]byte) {
	told := gosync.OnceFunc(a.ready.Done)
	defer told()
	for a.ctx.Err() == nil {
		s, err := h.NewStream(a.ctx, victim, bitswapProtocol)
		if err != nil {
			return // the node disconnected it, as it should
		}
		for _, m := range messages {
			told()
			if _, err := s.Write(m); err != nil {
				break
			}
			a.wants.Add(wantsEach)
		}
		_ = s.Reset()
	}
}

// hold opens streams and keeps them open.
func (a *attack) hold(h host.Host, victim peer.ID, has siege) {
	told := gosync.OnceFunc(a.ready.Done)
	defer told()
	half := []byte("GET /ipfs/" + has.Root + "?format=car HTTP/1.1\r\nHost: x\r\nX-A: ")
	never := slices.Concat(half, []byte("\r\n\r\n"))
	compare := []byte("GET /ipfs/" + has.Dirs[1] + "?format=car&have=" + has.Dirs[0] + " HTTP/1.1\r\nHost: x\r\n\r\n")
	// Half of a message of 2 MiB.
	cut := append(binary.AppendUvarint(nil, 2<<20), make([]byte, 1<<20)...)
	for i := range hostileStreams {
		id, data := bitswapProtocol, cut
		if i%4 == 0 {
			id, data = httpProtocol, half
		} else if i%4 == 1 {
			id, data = httpProtocol, never
		} else if i%4 == 2 {
			id, data = httpProtocol, compare
		}
		wait := hostileWait // streams beyond the limit are not answered
		if i == 0 {
			wait = time.Minute
		}
		ctx, cancel := context.WithTimeout(a.ctx, wait)
		s, err := h.NewStream(ctx, victim, id)
		cancel()
		if err != nil {
			a.refused.Add(1)
			return // the node accepts no more streams
		}
		a.streams.Add(1)
		if i == hostileStreams/50 {
			told()
		}
		_ = s.SetWriteDeadline(time.Now().Add(hostileWait)) // or its window is full
		_, _ = s.Write(data)
	}
}
