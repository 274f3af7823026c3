package unixfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

func TestSetChunker(t *testing.T) {
	for _, tt := range []struct {
		spec             string
		kind             Chunker
		least, avg, most int
	}{
		{"size-1", Fixed, 0, 0, 1},
		{"size-1048576", Fixed, 0, 0, 1 << 20},
		{fmt.Sprint("size-", MaxChunkSize), Fixed, 0, 0, MaxChunkSize},
		{"rabin", Rabin, 87381, 262144, 393216},
		{"rabin-1000", Rabin, 333, 1000, 1500},
		{"rabin-512-1024-2048", Rabin, 512, 1024, 2048},
		{"buzhash", Buzhash, 0, 0, 512 << 10},
	} {
		p := V0Profile()
		if err := p.SetChunker(tt.spec); err != nil {
			t.Errorf("%s: %v", tt.spec, err)
		}
		if p.Chunker != tt.kind || p.MinChunk != tt.least || p.AvgChunk != tt.avg || p.ChunkSize != tt.most || p.Name != "" {
			t.Errorf("%s: got %+v", tt.spec, p)
		}
		if err := p.check(); err != nil {
			t.Errorf("%s: %v", tt.spec, err)
		}
	}
	for _, spec := range []string{
		"", "size", "size-", "size-0", "size--1", "size-1-2", "size-x", fmt.Sprint("size-", MaxChunkSize+1), "size-99999999999999999999",
		"rabin-", "rabin-0", "rabin-30", "rabin-1-2", "rabin-15-20-30", "rabin-20-20-30", "rabin-20-30-30", "rabin-30-20-40",
		"rabin-20-30-9999999", "rabin-9223372036854775807", "rabin-1-2-3-4", "buzhash-1", "buzhash-", "fixed", "default", "Rabin",
	} {
		p := V1Profile()
		if err := p.SetChunker(spec); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%q", spec)) {
			t.Errorf("%q: got %v, want an error that names it", spec, err)
		}
		if p != V1Profile() {
			t.Errorf("%q: the profile has changed", spec)
		}
	}
	p := V1Profile()
	if err := p.SetChunker("size-1048576"); err != nil || p.Name != V1Profile().Name {
		t.Errorf("the profile's own chunker: got %q, %v, want its name kept", p.Name, err)
	}
}

// TestImportTruncated: with every chunker, a reader that ends with
// io.ErrUnexpectedEOF, or that returns nothing forever, fails the import.
func TestImportTruncated(t *testing.T) {
	data := readVectorStream(t, "cut", 700_000)
	for _, spec := range []string{"size-1000", "size-1048576", "rabin-512-1024-2048", "rabin", "buzhash"} {
		p := V1Profile()
		if err := p.SetChunker(spec); err != nil {
			t.Fatal(err)
		}
		for _, size := range []int{0, 1, 1000, 200_000, len(data)} {
			for want, end := range map[error]io.Reader{
				io.ErrUnexpectedEOF: errReader{io.ErrUnexpectedEOF},
				errBroken:           errReader{errBroken},
				io.ErrNoProgress:    errReader{nil},
			} {
				r := io.MultiReader(bytes.NewReader(data[:size]), end)
				if _, err := Import(t.Context(), discardPutter{}, r, Options{Profile: p}); !errors.Is(err, want) {
					t.Errorf("%s, %d bytes: got %v, want %v", spec, size, err, want)
				}
			}
		}
	}
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }
