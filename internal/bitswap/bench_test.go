package bitswap

import (
	"crypto/sha256"
	"io"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"

	"github.com/cairn-ipfs/cairn/block"
)

// BenchmarkChain fetches a chain of tiny blocks, each after the one before: by our
// client and by boxo's from the same boxo server, and by ours from our own. It
// reports the time of a block, and how many times as fast as boxo's our client is.
func BenchmarkChain(b *testing.B) {
	const long, short = 10_000, 100 // boxo's client is slow
	chain := randomBlocks(b, 1, long, 240)
	theirs, ours := newBoxo(b), newNode(b, Config{})
	theirs.put(b, chain...)
	ours.put(b, chain...)
	client, theirClient := newNode(b, Config{}), newBoxo(b)
	connect(b, client.host, theirs.host)
	connect(b, client.host, ours.host)
	connect(b, theirClient.host, theirs.host)
	each := func(c *Conversation) time.Duration {
		start := time.Now()
		for _, want := range chain {
			fetch(b, c, []block.Block{want})
		}
		return time.Since(start) / long
	}
	for b.Loop() {
		fromUs := each(client.open(b, ours.host.ID()))
		fromThem := each(client.open(b, theirs.host.ID()))
		session := theirClient.NewSession(b.Context())
		start := time.Now()
		for _, want := range chain[:short] {
			if _, err := session.GetBlock(b.Context(), want.CID()); err != nil {
				b.Fatal(err)
			}
		}
		boxo := time.Since(start) / short
		b.ReportMetric(float64(fromUs.Microseconds())/1000, "ms/block-cairn-cairn")
		b.ReportMetric(float64(fromThem.Microseconds())/1000, "ms/block-cairn-boxo")
		b.ReportMetric(float64(boxo.Microseconds())/1000, "ms/block-boxo-boxo")
		b.ReportMetric(float64(boxo)/float64(fromThem), "times-boxo's-client")
	}
}

// BenchmarkThroughput moves blocks of 256 KiB: as one plain libp2p stream, between
// two of our nodes, and with boxo on either side.
func BenchmarkThroughput(b *testing.B) {
	const count, size = 1024, 256 << 10
	set := randomBlocks(b, 2, count, size)
	ours, theirs := newNode(b, Config{}), newBoxo(b)
	ours.put(b, set...)
	theirs.put(b, set...)
	client := newNode(b, Config{})
	connect(b, client.host, ours.host)
	connect(b, client.host, theirs.host)

	const plain = "/plain"
	ours.host.SetStreamHandler(plain, func(s network.Stream) {
		for _, bl := range set {
			if _, err := s.Write(bl.Data()); err != nil {
				return
			}
		}
		s.Close()
	})
	report := func(b *testing.B, name string, start time.Time) float64 {
		rate := count * size / time.Since(start).Seconds() / (1 << 20)
		b.ReportMetric(rate, name)
		return rate
	}
	b.SetBytes(count * size)
	for b.Loop() {
		start := time.Now()
		s, err := client.host.NewStream(b.Context(), ours.host.ID(), plain)
		if err != nil {
			b.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, s); n != count*size || err != nil {
			b.Fatalf("got %d bytes, %v, want %d", n, err, count*size)
		}
		s.Close()
		stream := report(b, "MiB/s-stream", start)

		start = time.Now()
		for _, bl := range set {
			sha256.Sum256(bl.Data())
		}
		report(b, "MiB/s-hashing", start)

		start = time.Now()
		fetch(b, client.open(b, ours.host.ID()), set)
		b.ReportMetric(report(b, "MiB/s-cairn-cairn", start)/stream, "of-stream")

		start = time.Now()
		fetch(b, client.open(b, theirs.host.ID()), set)
		report(b, "MiB/s-cairn-boxo", start)

		for _, side := range []struct {
			name   string
			server *node
		}{{"MiB/s-boxo-cairn", ours}, {"MiB/s-boxo-boxo", nil}} {
			reader := newBoxo(b)
			if side.server != nil {
				connect(b, reader.host, side.server.host)
			} else {
				connect(b, reader.host, theirs.host)
			}
			start = time.Now()
			blocks, err := reader.GetBlocks(b.Context(), cids(set))
			if err != nil {
				b.Fatal(err)
			}
			n := 0
			for range blocks {
				n++
			}
			if n != count {
				b.Fatalf("got %d blocks, want %d", n, count)
			}
			report(b, side.name, start)
		}
	}
}
