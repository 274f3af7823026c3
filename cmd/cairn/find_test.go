package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"math/bits"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p"
	pb "github.com/libp2p/go-libp2p-kad-dht/pb"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	p2pnet "github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"google.golang.org/protobuf/proto"
)

var update = flag.Bool("update", false, "write the output of commands into docs/routing.md")

// A street is a DHT in which a lookup takes four steps: the peers (houses) of each
// block know those of the next one, which are closer to the key, and the last ones
// know the provider. One house doesn't answer, and one is slow.
type street struct {
	target cid.Cid
	blocks [][]house
	has    peer.AddrInfo
}

type house struct {
	host host.Host
	info peer.AddrInfo
}

// sharedBits is how many bits the houses of each block share with the target.
var sharedBits = [][]int{{2}, {5, 4}, {8, 7}, {11, 10}}

// identityFor returns the first key of a seed whose peer id shares so many bits
// with the target.
func identityFor(t *testing.T, target []byte, seed uint64, want int) crypto.PrivKey {
	t.Helper()
	key := sha256.Sum256(target)
	for i := uint64(0); ; i++ {
		var secret [ed25519.SeedSize]byte
		binary.BigEndian.PutUint64(secret[:], seed)
		binary.BigEndian.PutUint64(secret[8:], i)
		k, err := crypto.UnmarshalEd25519PrivateKey(ed25519.NewKeyFromSeed(secret[:]))
		if err != nil {
			t.Fatal(err)
		}
		id, err := peer.IDFromPrivateKey(k)
		if err != nil {
			t.Fatal(err)
		}
		at := sha256.Sum256([]byte(id))
		if shared(at[:], key[:]) == want {
			return k
		}
	}
}

func shared(a, b []byte) (n int) {
	for i := range a {
		d := a[i] ^ b[i]
		n += bits.LeadingZeros8(d)
		if d != 0 {
			break
		}
	}
	return n
}

func newStreet(t *testing.T) *street {
	t.Helper()
	b, err := block.New(block.Raw, []byte("what is looked for"))
	if err != nil {
		t.Fatal(err)
	}
	s := &street{target: b.CID()}
	for i, row := range sharedBits {
		var houses []house
		for j, n := range row {
			h, err := libp2p.New(libp2p.Identity(identityFor(t, s.target.Hash(), uint64(10*i+j), n)),
				libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"), libp2p.DisableRelay(), libp2p.DisableMetrics())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { h.Close() })
			houses = append(houses, house{h, peer.AddrInfo{ID: h.ID(), Addrs: h.Addrs()}})
		}
		s.blocks = append(s.blocks, houses)
	}
	id, err := peer.IDFromPrivateKey(identityFor(t, s.target.Hash(), 100, 0))
	if err != nil {
		t.Fatal(err)
	}
	s.has = peer.AddrInfo{ID: id, Addrs: s.blocks[0][0].info.Addrs}
	var others sync.WaitGroup // in the slow one's block and the one before
	for i, houses := range s.blocks {
		for j, h := range houses {
			shut, slow := i == 2 && j == 1, i == 2 && j == 0 // the one that is left
			done := func() {}
			if !slow && (i == 1 || i == 2) {
				others.Add(1)
				done = sync.OnceFunc(others.Done)
			}
			h.host.SetStreamHandler("/ipfs/kad/1.0.0", func(stream p2pnet.Stream) {
				defer stream.Close()
				request, err := readMessage(stream)
				looks := err == nil && bytes.Equal(request.GetKey(), s.target.Hash())
				if looks {
					defer done()
				}
				if err != nil || shut {
					stream.Reset()
					return
				}
				if slow {
					if looks {
						others.Wait() // a lookup doesn't wait for them once it has a result
					}
					time.Sleep(time.Second) // a slow peer
				}
				_ = writeMessage(stream, s.answer(i, request)) // a client that disconnected needs none
			})
		}
	}
	return s
}

// answer returns the answer of a block's houses.
func (s *street) answer(i int, request *pb.Message) *pb.Message {
	m := pb.NewMessage(request.GetType(), request.GetKey(), 0)
	if !bytes.Equal(request.GetKey(), s.target.Hash()) {
		return m
	}
	if i+1 < len(s.blocks) {
		var next []peer.AddrInfo
		for _, h := range s.blocks[i+1] {
			next = append(next, h.info)
		}
		m.CloserPeers = pb.RawPeerInfosToPBPeers(next)
	} else if request.GetType() == pb.Message_GET_PROVIDERS {
		m.ProviderPeers = pb.RawPeerInfosToPBPeers([]peer.AddrInfo{s.has})
	}
	return m
}

func readMessage(r io.Reader) (*pb.Message, error) {
	length, err := binary.ReadUvarint(oneByte{r})
	if err != nil || length > p2pnet.MessageSizeMax {
		return nil, fmt.Errorf("a message of %d bytes: %w", length, err)
	}
	data := make([]byte, length)
	if _, err := io.ReadFull(r, data); err != nil {
		return nil, err
	}
	m := new(pb.Message)
	return m, proto.Unmarshal(data, m)
}

// oneByte reads single bytes, none beyond the message.
type oneByte struct{ io.Reader }

func (r oneByte) ReadByte() (byte, error) {
	var b [1]byte
	_, err := io.ReadFull(r, b[:])
	return b[0], err
}

func writeMessage(w io.Writer, m *pb.Message) error {
	data, err := proto.Marshal(m)
	if err != nil {
		return err
	}
	_, err = w.Write(append(binary.AppendUvarint(nil, uint64(len(data))), data...))
	return err
}

// The parts that differ between runs.
var (
	aTime = regexp.MustCompile(`\b\d+(\.\d+)?(µs|ms|s)\b *`)
	aPort = regexp.MustCompile(`/tcp/\d+`)
)

// TestFindTrace traces a lookup of four steps, and compares the output with
// docs/routing.md.
func TestFindTrace(t *testing.T) {
	s := newStreet(t)
	dir := filepath.Join(t.TempDir(), "repo")
	first := s.blocks[0][0].info
	d, err := launch(os.Environ(), t.TempDir(), "--repo", dir, "serve", "--api", "off", "--gateway", "off",
		"--listen", "/ip4/127.0.0.1/tcp/0", "--bootstrap", first.Addrs[0].String()+"/p2p/"+first.ID.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.end(os.Kill) })
	path, err := exec.LookPath("cairn")
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(path, "--repo", dir, "find", "--trace", s.target.String()).CombinedOutput()
	if err != nil {
		t.Fatalf("find: %v: %s", err, out)
	}
	got := aPort.ReplaceAllString(atSlowHouse(t, string(out), s.blocks[2][0].info.ID.String()), "/tcp/4001")
	got = aTime.ReplaceAllStringFunc(got, func(s string) string {
		at := "12ms"
		if strings.HasSuffix(s, " ") {
			return fmt.Sprintf("%-*s", max(len(strings.TrimRight(s, " "))+1, 9), at)
		}
		return at
	})
	compareWithDocs(t, "cairn find --trace "+s.target.String(), got)
}

// atSlowHouse checks that the slowest question has the mark, and moves it to the
// slow house: on a busy machine another one may be slower.
func atSlowHouse(t *testing.T, output, id string) string {
	t.Helper()
	const mark = "   <- the slowest"
	lines := strings.Split(output, "\n")
	var longest, marked time.Duration
	marks := 0
	for i, line := range lines {
		bare := strings.TrimSuffix(line, mark)
		if !strings.Contains(bare, " bits ") {
			continue
		}
		took, err := time.ParseDuration(strings.TrimSpace(aTime.FindString(bare)))
		if err != nil {
			t.Fatalf("find: how long did %q take: %v", line, err)
		}
		longest = max(longest, took)
		if bare != line {
			marks++
			marked = took
		}
		if lines[i] = bare; strings.Contains(bare, id[len(id)-8:]) {
			lines[i] += mark
		}
	}
	if marks != 1 || marked != longest {
		t.Errorf("find: got %d marks, at what took %v, want one, at %v: %s", marks, marked, longest, output)
	}
	return strings.Join(lines, "\n")
}

// compareWithDocs expects a command and its output in docs/routing.md.
func compareWithDocs(t *testing.T, command, output string) {
	t.Helper()
	const file = "../../docs/routing.md"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	begin := strings.Index(string(text), "$ "+command+"\n")
	if begin < 0 {
		t.Fatalf("%s has no %q", file, command)
	}
	begin += len("$ " + command + "\n")
	length := strings.Index(string(text)[begin:], "```")
	if length < 0 {
		t.Fatalf("%s: the output of %q has no end", file, command)
	}
	if string(text)[begin:begin+length] == output {
		return
	}
	if !*update {
		t.Fatalf("%s: got\n%s\nwant\n%s\n(go test ./cmd/cairn -run %s -update writes it)", command, output, string(text)[begin:begin+length], t.Name())
	}
	if err := os.WriteFile(file, []byte(string(text)[:begin]+output+string(text)[begin+length:]), 0o644); err != nil {
		t.Fatal(err)
	}
}
