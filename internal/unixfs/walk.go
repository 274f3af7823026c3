package unixfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
)

// MaxDepth is how deeply directories may lie in one another, on the way in
// and on the way out: deeper than any real tree, and few enough that a tree
// made to hurt does not use up file descriptors.
const MaxDepth = 256

// A walker cuts an import's input into steps. It has one goroutine.
type walker struct {
	pipeline *pipeline
	options  Options
	current  *step
	depth    int
}

// run walks, and wraps what is walked into a directory if that is wished.
func (w *walker) run(walk func(*walker) error) error {
	if w.options.Wrap != "" {
		if err := w.emit(op{kind: opEnter, path: "."}); err != nil {
			return err
		}
	}
	err := walk(w)
	if err == nil && w.options.Wrap != "" {
		err = w.emit(op{kind: opLeave, path: "."})
	}
	// What came before an error is sent all the same: its operations hold
	// directories open.
	w.flush()
	return err
}

// emit adds an operation to the current step. The operation's references are
// dropped if it cannot be sent.
func (w *walker) emit(o op) error {
	if w.current != nil && (len(w.current.ops) == stepOps || w.current.bytes+o.size > w.options.Profile.ChunkSize) {
		w.flush()
	}
	if w.current == nil {
		if !w.pipeline.acquire() {
			o.run(w.pipeline.ctx, w.pipeline.pool)
			return context.Cause(w.pipeline.ctx)
		}
		w.current = &step{done: make(chan struct{})}
	}
	w.current.ops = append(w.current.ops, o)
	w.current.bytes += o.size
	return nil
}

func (w *walker) flush() {
	if w.current != nil {
		w.pipeline.send(w.current)
		w.current = nil
	}
}

// directory walks d, which it releases.
func (w *walker) directory(d *openDir, path string) error {
	defer d.release()
	if w.depth == MaxDepth {
		return fmt.Errorf("%s: directories lie more than %d deep", path, MaxDepth)
	}
	w.depth++
	defer func() { w.depth-- }()
	entries, err := d.source.entries()
	if err != nil {
		return named(path, err)
	}
	if entries, err = inOrder(entries); err != nil {
		return named(path, err)
	}
	if err := w.emit(op{kind: opEnter, path: path}); err != nil {
		return err
	}
	for _, e := range entries {
		if w.options.SkipHidden && strings.HasPrefix(e.Name(), ".") {
			continue
		}
		if err := checkName(e.Name()); err != nil {
			return named(path, err)
		}
		if err := w.entry(d, e, join(path, e.Name())); err != nil {
			return err
		}
	}
	return w.emit(op{kind: opLeave, path: path})
}

// inOrder returns entries sorted by name, each name once. They mostly are.
func inOrder(entries []fs.DirEntry) ([]fs.DirEntry, error) {
	byName := func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) }
	if !slices.IsSortedFunc(entries, byName) {
		entries = slices.SortedFunc(slices.Values(entries), byName)
	}
	for i := 1; i < len(entries); i++ {
		if entries[i].Name() == entries[i-1].Name() {
			return nil, fmt.Errorf("two entries named %q", entries[i].Name())
		}
	}
	return entries, nil
}

// join is path.Join for an entry whose name is clean.
func join(dir, name string) string {
	if dir == "." {
		return name
	}
	return dir + "/" + name
}

// entry walks one entry of d.
func (w *walker) entry(d *openDir, e fs.DirEntry, path string) error {
	name := e.Name()
	switch e.Type() {
	case fs.ModeDir:
		sub, err := d.source.sub(name)
		if err != nil {
			return named(path, err)
		}
		return w.directory(newOpenDir(sub), path)
	case fs.ModeSymlink:
		return w.emit(op{kind: opSymlink, name: name, path: path, dir: d.retain()})
	case 0:
		info, err := e.Info()
		if err != nil {
			return named(path, err)
		}
		if size := info.Size(); size > int64(w.options.Profile.ChunkSize) {
			return w.largeFile(d, name, path, size)
		}
		return w.emit(op{kind: opFile, name: name, path: path, dir: d.retain(), size: int(info.Size())})
	}
	return fmt.Errorf("%s: a %s can't be imported, only files, directories and symlinks", path, kindOf(e.Type()))
}

// kindOf says what sort of special file it is.
func kindOf(mode fs.FileMode) string {
	switch {
	case mode&fs.ModeNamedPipe != 0:
		return "named pipe"
	case mode&fs.ModeSocket != 0:
		return "socket"
	case mode&fs.ModeDevice != 0:
		return "device"
	}
	return "special file"
}

// largeFile cuts a file of several leaves.
func (w *walker) largeFile(d *openDir, name, path string, size int64) error {
	f, err := d.source.open(name)
	if err != nil {
		return named(path, err)
	}
	at, ok := f.(io.ReaderAt)
	if !ok {
		defer f.Close()
		return w.serial(&exactReader{r: f, left: size}, path)
	}
	shared := newSharedReader(at, f)
	defer shared.release()
	return w.chunks(shared, 0, size, true, path)
}

// fileAt cuts a file given by the caller of Import.
func (w *walker) fileAt(at io.ReaderAt, start, size int64) error {
	if size > 0 {
		return w.chunks(newSharedReader(at, nil), start, size, false, w.rootPath())
	}
	return w.stream(strings.NewReader(""))
}

// stream cuts what a reader of unknown length gives.
func (w *walker) stream(r io.Reader) error { return w.serial(r, w.rootPath()) }

// rootPath is where in the result lies what is imported.
func (w *walker) rootPath() string {
	if w.options.Wrap != "" {
		return w.options.Wrap
	}
	return "."
}

// chunks cuts what can be read at any place: workers read it.
func (w *walker) chunks(r *sharedReader, start, size int64, probe bool, path string) error {
	chunk := int64(w.options.Profile.ChunkSize)
	for offset := int64(0); offset < size; offset += chunk {
		n := min(chunk, size-offset)
		o := op{kind: opChunk, path: path, at: r.retain(), offset: start + offset, size: int(n), probe: probe && offset+n == size}
		if err := w.emit(o); err != nil {
			return err
		}
	}
	return w.emit(op{kind: opFileEnd, path: path})
}

// serial cuts what must be read from front to back.
func (w *walker) serial(r io.Reader, path string) error {
	c := &fixedChunker{r: r, pool: w.pipeline.pool}
	for first := true; ; first = false {
		// Memory counts from the moment of reading.
		w.flush()
		if !w.pipeline.acquire() {
			return context.Cause(w.pipeline.ctx)
		}
		leaf, err := c.next()
		if errors.Is(err, io.EOF) && !first {
			w.pipeline.release()
			return w.emit(op{kind: opFileEnd, path: path})
		}
		if err != nil && !errors.Is(err, io.EOF) {
			w.pipeline.release()
			return named(path, err)
		}
		w.current = &step{done: make(chan struct{})}
		if err := w.emit(op{kind: opChunk, path: path, leaf: leaf, size: leaf.size, filled: true}); err != nil {
			return err
		}
	}
}
