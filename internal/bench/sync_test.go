package bench_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/dag"
	"github.com/cairn-ipfs/cairn/internal/simnet"
	"github.com/cairn-ipfs/cairn/internal/swarm"
	"github.com/cairn-ipfs/cairn/store"
	"github.com/ipfs/boxo/bitswap"
	"github.com/ipfs/boxo/bitswap/network/bsnet"
	"github.com/ipfs/boxo/blockservice"
	"github.com/ipfs/boxo/blockstore"
	"github.com/ipfs/boxo/ipld/merkledag"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/ipfs/go-datastore"
	dssync "github.com/ipfs/go-datastore/sync"
	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
)

// Variables that make the test program the other side of a sync: a node with the
// repository in a folder, or boxo's bitswap server with its blocks. Boxo's sides run
// on go-libp2p's host with its default settings, as in Kubo.
const (
	serveVariable = "CAIRN_BENCH_SERVE"
	boxoVariable  = "CAIRN_BENCH_BOXO"
)

// rawProtocol sends the requested number of bytes: the yardstick.
const rawProtocol = "/cairn-bench/raw/1.0.0"

func serveRaw(h host.Host) {
	h.SetStreamHandler(rawProtocol, func(s network.Stream) {
		defer s.Close()
		var n uint64
		if binary.Read(s, binary.BigEndian, &n) != nil {
			return
		}
		piece := make([]byte, 1<<20)
		for n > 0 {
			m := min(n, uint64(len(piece)))
			if _, err := s.Write(piece[:m]); err != nil {
				return
			}
			n -= m
		}
	})
}

// TestSyncServer is the other side. It prints its address, and ends when its stdin
// does.
func TestSyncServer(t *testing.T) {
	dir, plain := os.Getenv(serveVariable), os.Getenv(boxoVariable) != ""
	if dir == "" {
		t.Skip("only serve runs it, as a process of its own")
	}
	listen := []string{"/ip4/127.0.0.1/tcp/0"}
	n, err := cairn.Open(t.Context(), cairn.Config{Dir: dir, Local: true, Listen: listen, Offline: plain})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	sw, err := swarm.New(t.Context(), swarm.Config{Local: true, Listen: listen})
	if err != nil {
		t.Fatal(err)
	}
	defer sw.Close()
	serveRaw(sw.Host())
	addrs, err := n.Addrs(t.Context())
	if plain {
		bs := newBlockstore()
		for c, err := range n.Store().Blocks(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			b, err := n.Get(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			known, err := blocks.NewBlockWithCid(b.Data(), c)
			if err == nil {
				err = bs.Put(t.Context(), known)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		var h host.Host
		if h, err = libp2p.New(libp2p.ListenAddrStrings(listen...)); err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		server := bitswap.New(t.Context(), bsnet.NewFromIpfsHost(h), nil, bs)
		defer server.Close()
		addrs, err = peer.AddrInfoToP2pAddrs(host.InfoFromHost(h))
	}
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("serving %s %s\n", addrs[0], sw.Addrs()[0])
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		t.Error(err)
	}
}

func newBlockstore() blockstore.Blockstore {
	return blockstore.NewBlockstore(dssync.MutexWrap(datastore.NewMapDatastore()))
}

// A server is the other side, in a process of its own.
type server struct {
	addr, raw string // addresses of the node, and of the sender of raw bytes
	stop      func()
}

// serve starts the other side with the repository at dir.
func (s *stage) serve(dir string, plain bool) server {
	s.Helper()
	program, err := os.Executable()
	s.check(err)
	cmd := exec.Command(program, "-test.run", "^TestSyncServer$")
	cmd.Env = append(os.Environ(), serveVariable+"="+dir)
	if plain {
		cmd.Env = append(cmd.Env, boxoVariable+"=yes")
	}
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	s.check(err)
	out, err := cmd.StdoutPipe()
	s.check(err)
	s.check(cmd.Start())
	lines := bufio.NewReader(out)
	line, err := lines.ReadString('\n')
	s.check(err)
	words := strings.Fields(line)
	if len(words) != 3 || words[0] != "serving" {
		s.Fatalf("the other side printed %q, want serving and two addresses", line)
	}
	return server{addr: words[1], raw: words[2], stop: func() {
		s.check(in.Close())
		_, _ = io.Copy(io.Discard, lines)
		s.check(cmd.Wait())
	}}
}

// rawStream gets n bytes over one libp2p stream.
func (s *stage) rawStream(addr string, n int64) (d time.Duration) {
	s.Helper()
	sw, err := swarm.New(s.Context(), swarm.Config{Local: true, Listen: []string{}})
	s.check(err)
	defer func() { s.check(sw.Close()) }()
	info, err := peer.AddrInfoFromString(addr)
	s.check(err)
	s.check(sw.Connect(s.Context(), *info))
	return timeOf(func() {
		st, err := sw.Host().NewStream(s.Context(), info.ID, rawProtocol)
		s.check(err)
		s.check(binary.Write(st, binary.BigEndian, uint64(n)))
		got, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, st, make([]byte, 1<<20))
		s.check(err)
		if got != n {
			s.Fatalf("got %d raw bytes, want %d", got, n)
		}
		s.check(st.Close())
	})
}

// syncOnce times a durable sync into a new repository that is connected to the peer.
// It syncs the DAGs of have first.
func (s *stage) syncOnce(addr string, root cid.Cid, have ...cid.Cid) time.Duration {
	s.Helper()
	d, _ := s.syncOver(nil, addr, root, have...)
	return d
}

// syncOver is syncOnce, and also counts the bytes received over a line.
func (s *stage) syncOver(line *simnet.Proxy, addr string, root cid.Cid, have ...cid.Cid) (d time.Duration, received int64) {
	s.Helper()
	s.scratch(func(dir string) {
		n, err := cairn.Open(s.Context(), cairn.Config{Dir: dir, Local: true})
		s.check(err)
		_, err = n.Connect(s.Context(), addr)
		s.check(err)
		get := func(root cid.Cid) (last cairn.SyncProgress) {
			for p, err := range n.Sync(s.Context(), root, cairn.SyncOptions{From: []string{addr}, Alias: "got"}) {
				s.check(err)
				last = p
			}
			return last
		}
		for _, h := range have {
			get(h)
			// In practice, time passes between two versions: wait for the background
			// work on this one.
			for c, err := range n.Store().Missing(s.Context(), h, store.Selection{}) {
				s.Fatalf("missing %s, %v", c, err)
			}
		}
		var p cairn.SyncProgress
		count := func() int64 {
			if line == nil {
				return 0
			}
			_, down := line.Bytes()
			return down
		}
		before := count()
		d = timeOf(func() { p = get(root) })
		received = count() - before
		if p.DuplicateBytes*100 > p.Bytes {
			s.Errorf("%d of %d bytes were received twice, want at most 1 %%", p.DuplicateBytes, p.Bytes)
		}
		for c, err := range n.Store().Missing(s.Context(), root, store.Selection{}) {
			s.Fatalf("after the sync: missing %s, %v", c, err)
		}
		s.check(n.Close())
	})
	return d, received
}

// boxoOnce times boxo's client fetching a DAG into memory.
func (s *stage) boxoOnce(addr string, root cid.Cid) time.Duration {
	s.Helper()
	ctx, cancel := context.WithCancel(s.Context())
	defer cancel()
	h, err := libp2p.New(libp2p.NoListenAddrs)
	s.check(err)
	defer func() { s.check(h.Close()) }()
	bs := newBlockstore()
	client := bitswap.New(ctx, bsnet.NewFromIpfsHost(h), nil, bs)
	defer client.Close()
	info, err := peer.AddrInfoFromString(addr)
	s.check(err)
	s.check(h.Connect(ctx, *info))
	service := blockservice.New(bs, client)
	return timeOf(func() { s.check(merkledag.FetchGraph(ctx, root, merkledag.NewDAGService(service))) })
}

// addChain adds a chain of n dag-pb blocks of 240 bytes to a repository.
func (s *stage) addChain(st *store.Store, n int) cid.Cid {
	s.Helper()
	batch := st.Batch()
	var prev cid.Cid
	for i := range n {
		var data []byte
		if prev.Defined() {
			link := append([]byte{0x0a, byte(prev.ByteLen())}, prev.Bytes()...)
			link = append(link, 0x12, 0)
			data = append([]byte{0x12, byte(len(link))}, link...)
		}
		content := binary.BigEndian.AppendUint64(make([]byte, 0, 200), uint64(i))
		for len(content) < 240-len(data)-3 {
			content = append(content, 0)
		}
		data = append(data, 0x0a)
		data = binary.AppendUvarint(data, uint64(len(content)))
		data = append(data, content...)
		b, err := block.New(block.DagPB, data)
		s.check(err)
		s.check(batch.Put(s.Context(), b))
		prev = b.CID()
	}
	batch.Alias("chain", prev, store.AliasOptions{})
	s.check(batch.Commit(s.Context()))
	return prev
}

// chainedFar returns the length of the chain that is fetched over a slow line with
// bitswap, which needs a round trip for each block.
func (s *stage) chainedFar() int { return max(s.chained/100, 10) }

// A source is a repository with DAGs to sync, and their sizes.
type source struct {
	dir                      string
	file, tree, chain, small cid.Cid
	short, shortest          cid.Cid // two ends of the chain
	next                     cid.Cid // the tree, with some files changed
	full                     cid.Cid // the tree without its empty files
	treeBlocks               int
	// The bytes of the tree, of the new blocks of the next one, and of the chain,
	// with CIDs.
	treeBytes, newBytes, chainBytes int64
}

// sizeWithCID returns the bytes of a block and its CID.
func sizeWithCID(step dag.Step) int64 { return int64(step.Block.Size() + step.CID.ByteLen()) }

func (s *stage) newSource(dir, file string) source {
	s.Helper()
	src := source{dir: filepath.Join(dir, "theirs")}
	tree := filepath.Join(dir, "tree")
	s.check(os.CopyFS(tree, os.DirFS(s.goTree())))
	n := s.node(src.dir)
	add := func(path, alias string) cid.Cid {
		a, err := n.AddPath(s.Context(), path, cairn.AddOptions{Alias: alias})
		s.check(err)
		return a.CID
	}
	removeEmpty := func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		if info, err := d.Info(); err != nil || info.Size() > 0 {
			return err
		}
		return os.Remove(path)
	}
	src.file, src.tree = add(file, "file"), add(tree, "tree")
	s.check(filepath.WalkDir(tree, removeEmpty))
	src.full = add(tree, "full")
	for step, err := range dag.Walk(s.Context(), n.Store(), []cid.Cid{src.tree}, dag.WalkOptions{}) {
		s.check(err)
		src.treeBlocks++
		src.treeBytes += sizeWithCID(step)
	}
	i := 0
	s.check(filepath.WalkDir(tree, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		if i++; i%200 == 100 { // 0.5 %
			return os.WriteFile(path, fmt.Appendf(nil, "changed: %d\n", i), 0o644)
		}
		return nil
	}))
	src.next = add(tree, "next")
	d, err := dag.Diff(s.Context(), n.Store(), src.next, []cid.Cid{src.tree}, dag.DiffOptions{})
	s.check(err)
	for step, err := range d.Blocks(s.Context(), dag.WalkOptions{}) {
		s.check(err)
		src.newBytes += sizeWithCID(step)
	}
	src.chain = s.addChain(n.Store(), s.chained)
	left := s.chained
	for step, err := range dag.Walk(s.Context(), n.Store(), []cid.Cid{src.chain}, dag.WalkOptions{}) {
		s.check(err)
		switch left {
		case s.chained / 10:
			src.short = step.CID
		case s.chainedFar():
			src.shortest = step.CID
		}
		src.chainBytes += sizeWithCID(step)
		left--
	}
	small, err := n.Add(s.Context(), io.LimitReader(must(os.Open(file)), s.wan), cairn.AddOptions{Alias: "small"})
	s.check(err)
	src.small = small.CID
	s.check(n.Close())
	return src
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// measureSync measures syncing DAGs from one process to another over loopback.
func measureSync(s *stage) (rows []row) {
	s.scratch(func(dir string) {
		file := s.newRandomFile(s.file)
		src := s.newSource(dir, file)
		theirs := s.serve(src.dir, false)
		loop := func() (d time.Duration) {
			s.scratch(func(dir string) {
				d = timeOf(func() { s.check(plainLoop(file, filepath.Join(dir, "out"))) })
			})
			return d
		}
		r := row{
			work: "sync a file of " + formatBytes(s.file) + ", node to node, durable", kubo: "10.6 s",
			yardstick: "the same bytes over one libp2p stream, then the plain loop", unit: "s", goal: goal{ratio: 1.2},
		}
		r.cairn, r.beside = s.alternate(
			func() time.Duration { return s.syncOnce(theirs.addr, src.file) },
			func() time.Duration { return s.rawStream(theirs.raw, s.file) + loop() })
		rows = append(rows, r)
		r = row{
			work: fmt.Sprintf("sync a source tree (%d blocks, %s), durable", src.treeBlocks, formatBytes(src.treeBytes)),
			kubo: "13.9 s", yardstick: "the same blocks, with CIDs, over one libp2p stream", unit: "s", goal: goal{atMost: 1.2},
		}
		r.cairn, r.beside = s.alternate(
			func() time.Duration { return s.syncOnce(theirs.addr, src.tree) },
			func() time.Duration { return s.rawStream(theirs.raw, src.treeBytes) })
		rows = append(rows, r)
		r = row{
			work: "sync the next version of it, 0.5 % of the files changed", kubo: "walks level by level",
			yardstick: "the new blocks, with CIDs, over one libp2p stream", unit: "s",
		}
		r.cairn, r.beside = s.alternate(
			func() time.Duration { return s.syncOnce(theirs.addr, src.next, src.tree) },
			func() time.Duration { return s.rawStream(theirs.raw, src.newBytes) })
		rows = append(rows, r)
		chain := row{work: fmt.Sprintf("sync a chain of %d blocks of 240 B, durable", s.chained), kubo: "210 s", unit: "s", goal: goal{atMost: 0.5}}
		for range s.rounds {
			d := s.syncOnce(theirs.addr, src.chain).Seconds()
			if chain.cairn == 0 || d < chain.cairn {
				chain.cairn = d
			}
		}
		rows = append(rows, chain)
		theirs.stop()

		boxo := s.serve(src.dir, true)
		r = row{
			work: fmt.Sprintf("sync a chain of %d blocks from boxo's bitswap server, durable", s.chained/10),
			kubo: "21 ms a block", yardstick: "boxo's client, into memory", unit: "s", goal: goal{ratio: 0.1},
		}
		r.cairn, r.beside = s.alternate(
			func() time.Duration { return s.syncOnce(boxo.addr, src.short) },
			func() time.Duration { return s.boxoOnce(boxo.addr, src.short) })
		rows = append(rows, r)
		r = row{
			work: "sync a file of " + formatBytes(s.wan) + " from boxo's bitswap server, durable",
			kubo: "", yardstick: "boxo's client, into memory", unit: "s",
		}
		r.cairn, r.beside = s.alternate(
			func() time.Duration { return s.syncOnce(boxo.addr, src.small) },
			func() time.Duration { return s.boxoOnce(boxo.addr, src.small) })
		rows = append(rows, r)
		boxo.stop()
	})
	return rows
}

// measureFar measures the same over a line of 50 ms and 100 Mbit/s.
func measureFar(s *stage) (rows []row) {
	link := simnet.Link{RTT: 50 * time.Millisecond, Bandwidth: 100_000_000}
	s.scratch(func(dir string) {
		src := s.newSource(dir, s.newRandomFile(s.wan))
		theirs := s.serve(src.dir, false)
		line, near := s.newLine(theirs.addr, link)
		_, raw := s.newLine(theirs.raw, link)
		for _, x := range []struct {
			what  string
			root  cid.Cid
			bytes int64
			have  []cid.Cid
			goal  goal
		}{
			{"sync a file of " + formatBytes(s.wan), src.small, s.wan, nil, goal{ratio: 1 / 0.95}},
			{fmt.Sprintf("sync a source tree (%d blocks, %s)", src.treeBlocks, formatBytes(src.treeBytes)), src.tree, src.treeBytes, nil, goal{ratio: 1 / 0.95}},
			{"sync the next version of it, 0.5 % of the files changed", src.next, src.newBytes, []cid.Cid{src.tree}, goal{}},
			{fmt.Sprintf("sync a chain of %d blocks of 240 B", s.chained), src.chain, src.chainBytes, nil, goal{ratio: 1 / 0.95}},
		} {
			r := row{work: x.what + ", at 50 ms and 100 Mbit/s", yardstick: "the same blocks, with CIDs, over one libp2p stream on the same line", unit: "s", goal: x.goal}
			took, received := s.syncOver(line, near, x.root, x.have...)
			r.cairn, r.beside = took.Seconds(), s.rawStream(raw, x.bytes).Seconds()
			rows = append(rows, r)
			if len(x.have) > 0 {
				rows = append(rows, row{
					work: "the same: bytes received over the line", yardstick: "the new blocks, with CIDs", unit: "KB", goal: goal{ratio: 1.02},
					cairn: float64(received) / 1000, beside: float64(x.bytes) / 1000,
				})
			}
		}
		theirs.stop()
		boxo := s.serve(src.dir, true)
		_, far := s.newLine(boxo.addr, link)
		for _, x := range []struct {
			what  string
			root  cid.Cid
			bound string // the lower bound of every bitswap client
			least float64
		}{
			{"sync a file of " + formatBytes(s.wan), src.small, "the line's time for the bytes", float64(s.wan) * 8 / float64(link.Bandwidth)},
			// boxo's client waits forever for the empty block of an empty file.
			{fmt.Sprintf("sync a source tree (%d blocks, no empty file)", src.treeBlocks), src.full, "the line's time for the bytes", float64(src.treeBytes) * 8 / float64(link.Bandwidth)},
			{fmt.Sprintf("sync a chain of %d blocks", s.chainedFar()), src.shortest, "a round trip for each block", float64(s.chainedFar()) * link.RTT.Seconds()},
		} {
			r := row{work: x.what + " from boxo's bitswap server, at 50 ms and 100 Mbit/s", yardstick: "boxo's client on the same line", unit: "s", goal: goal{ratio: 0.5}}
			r.cairn = s.syncOnce(far, x.root).Seconds()
			r.beside = s.boxoOnce(far, x.root).Seconds()
			rows = append(rows, r, row{work: "the same, against the lower bound", yardstick: x.bound, cairn: r.cairn, beside: x.least, unit: "s"})
		}
		boxo.stop()
	})
	return rows
}

// newLine makes a slow line to a peer, and returns it with the peer's address at its
// near end.
func (s *stage) newLine(addr string, link simnet.Link) (line *simnet.Proxy, there string) {
	s.Helper()
	m, err := multiaddr.NewMultiaddr(addr)
	s.check(err)
	port, err := m.ValueForProtocol(multiaddr.P_TCP)
	s.check(err)
	id, err := m.ValueForProtocol(multiaddr.P_P2P)
	s.check(err)
	line, err = simnet.NewProxy("127.0.0.1:"+port, link)
	s.check(err)
	s.Cleanup(func() { line.Close() })
	_, near, ok := strings.Cut(line.Addr(), ":")
	if !ok {
		s.check(errors.New("no port in " + line.Addr()))
	}
	return line, "/ip4/127.0.0.1/tcp/" + near + "/p2p/" + id
}
