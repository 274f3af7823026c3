package unixfs

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/ipfs/boxo/chunker"
)

// A Chunker decides where a file is cut into leaves. Content-defined ones cut by
// the bytes themselves: after an insertion most cuts, and so most blocks, are
// the same as before. They read from front to back.
type Chunker int

const (
	// Fixed cuts pieces of one size.
	Fixed Chunker = iota
	// Rabin cuts by a Rabin fingerprint, with Kubo's polynomial, into pieces
	// of MinChunk to ChunkSize bytes, AvgChunk on average.
	Rabin
	// Buzhash cuts by a rolling hash into pieces of 128 to 512 KiB.
	Buzhash
)

// Sizes of chunks, in bytes.
const (
	// minRabin is the window of the fingerprint, the least chunk.
	minRabin = 16
	// defaultRabin is the default average, as in Kubo.
	defaultRabin = 256 << 10
	// buzhashMin and buzhashMax are fixed by Kubo's algorithm.
	buzhashMin = 128 << 10
	buzhashMax = 512 << 10
)

// SetChunker parses a chunker and sets it, in Kubo's syntax: "size-N", "rabin",
// "rabin-AVG", "rabin-MIN-AVG-MAX", "buzhash"; N, MIN, AVG and MAX are bytes. A
// profile that it changes is no longer one of IPIP-499, and loses its name.
func (p *Profile) SetChunker(spec string) error {
	c := *p
	kind, rest, dash := strings.Cut(spec, "-")
	var numbers []int
	if dash {
		for field := range strings.SplitSeq(rest, "-") {
			n, err := strconv.Atoi(field)
			if err != nil || len(numbers) == 3 {
				return chunkerError(spec)
			}
			numbers = append(numbers, n)
		}
	}
	c.Chunker, c.MinChunk, c.AvgChunk = Fixed, 0, 0
	switch {
	case kind == "size" && len(numbers) == 1:
		c.ChunkSize = numbers[0]
	case kind == "rabin" && len(numbers) != 2:
		c.Chunker = Rabin
		switch len(numbers) {
		case 0:
			numbers = []int{defaultRabin}
			fallthrough
		case 1:
			avg := min(max(numbers[0], 0), MaxChunkSize)
			numbers = []int{avg / 3, avg, avg + avg/2}
		}
		c.MinChunk, c.AvgChunk, c.ChunkSize = numbers[0], numbers[1], numbers[2]
	case kind == "buzhash" && !dash:
		c.Chunker, c.ChunkSize = Buzhash, buzhashMax
	default:
		return chunkerError(spec)
	}
	if c.ChunkSize < 1 || c.ChunkSize > MaxChunkSize {
		return fmt.Errorf("unixfs: invalid chunker %q: chunks of %d bytes, want 1 to %d", spec, c.ChunkSize, MaxChunkSize)
	}
	if err := c.checkChunker(); err != nil {
		return fmt.Errorf("unixfs: invalid chunker %q: %w", spec, errors.Unwrap(err))
	}
	if c != *p {
		c.Name = ""
	}
	*p = c
	return nil
}

func chunkerError(spec string) error {
	return fmt.Errorf("unixfs: invalid chunker %q: want size-N, rabin, rabin-AVG, rabin-MIN-AVG-MAX or buzhash", spec)
}

// checkChunker checks the chunker's fields. Its error wraps only the reason.
func (p Profile) checkChunker() error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("unixfs: profile: %w", fmt.Errorf(format, args...))
	}
	switch p.Chunker {
	case Fixed, Buzhash:
		if p.MinChunk != 0 || p.AvgChunk != 0 {
			return bad("minimum and average chunk sizes are only for rabin")
		}
		if p.Chunker == Buzhash && p.ChunkSize != buzhashMax {
			return bad("invalid chunk size %d: want %d for buzhash", p.ChunkSize, buzhashMax)
		}
	case Rabin:
		if p.MinChunk < minRabin || p.MinChunk >= p.AvgChunk || p.AvgChunk >= p.ChunkSize {
			return bad("invalid chunk sizes: rabin wants %d <= minimum < average < maximum", minRabin)
		}
	default:
		return bad("invalid chunker %d", p.Chunker)
	}
	return nil
}

// singleChunkSize returns the size up to which every file is one chunk.
func (p Profile) singleChunkSize() int64 {
	switch p.Chunker {
	case Rabin:
		return int64(p.MinChunk)
	case Buzhash:
		return buzhashMin
	}
	return int64(p.ChunkSize)
}

// A cutter cuts a stream into leaves. It returns them filled, and at the end an
// empty leaf and io.EOF.
type cutter interface {
	next() (leafBuffer, error)
}

// newCutter returns a cutter for the pool's profile.
func newCutter(r io.Reader, pool *leafPool) cutter {
	r = &strictReader{r: r}
	switch p := pool.profile; p.Chunker {
	case Rabin:
		return &contentCutter{pool, chunk.NewRabinMinMax(r, uint64(p.MinChunk), uint64(p.AvgChunk), uint64(p.ChunkSize))}
	case Buzhash:
		return &contentCutter{pool, chunk.NewBuzhash(r)}
	}
	return &fixedCutter{r: r, pool: pool}
}

// maxEmptyReads bounds the empty reads in a row, as in package bufio.
const maxEmptyReads = 100

// A strictReader makes an io.ErrUnexpectedEOF of its reader an error of its own:
// cutters take that for the end of the last chunk, but a truncated response or
// archive returns it, too.
type strictReader struct {
	r     io.Reader
	empty int // reads in a row
}

func (w *strictReader) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	switch {
	case err == io.ErrUnexpectedEOF:
		err = fmt.Errorf("the input is truncated: %w", err)
	case n > 0 || len(p) == 0:
		w.empty = 0
	case err == nil:
		if w.empty++; w.empty == maxEmptyReads {
			err = io.ErrNoProgress
		}
	}
	return n, err
}

// A fixedCutter cuts chunks of the profile's size.
type fixedCutter struct {
	r     io.Reader
	pool  *leafPool
	ended bool
}

var _ cutter = (*fixedCutter)(nil)

func (c *fixedCutter) next() (leafBuffer, error) {
	if c.ended {
		return c.pool.get(0), io.EOF
	}
	leaf := c.pool.get(c.pool.profile.ChunkSize)
	n, err := io.ReadFull(c.r, leaf.chunk())
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		c.ended = true
		if leaf = c.pool.shrink(leaf, n); n > 0 {
			return leaf, nil
		}
		return leaf, io.EOF
	}
	return leaf, err
}

// A contentCutter cuts with one of boxo's chunkers.
type contentCutter struct {
	pool *leafPool
	from chunk.Splitter
}

var _ cutter = (*contentCutter)(nil)

func (c *contentCutter) next() (leafBuffer, error) {
	data, err := c.from.NextBytes()
	if err != nil {
		return c.pool.get(0), err
	}
	leaf := c.pool.get(len(data))
	copy(leaf.chunk(), data)
	return leaf, nil
}
