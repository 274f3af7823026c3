package httpapi

import (
	"io"
	"iter"
	"mime"
	"mime/multipart"
	"net/url"
	"path"
	"strings"
)

// MaxParts bounds the parts of one request for which a verb keeps something
// until the end, a hundred bytes or so each.
const MaxParts = 1 << 20

// A Part is one file of a multipart body.
type Part struct {
	io.Reader
	Name string // of the form's field
	Path string // of the file, relative, with slashes; may be empty
	Kind string // Content-Type, without parameters
}

// Parts yields the parts of a multipart body, in order; each can be read until
// the next one. A body that is cut off is an error.
func (c *Call) Parts() iter.Seq2[Part, error] {
	kind, params, err := mime.ParseMediaType(c.r.Header.Get("Content-Type"))
	if err != nil || !strings.HasPrefix(kind, "multipart/") {
		params = nil
	}
	return ReadParts(c.body, params["boundary"])
}

// ReadParts is Parts for a body that has that boundary.
func ReadParts(body io.Reader, boundary string) iter.Seq2[Part, error] {
	return func(yield func(Part, error) bool) {
		if boundary == "" {
			yield(Part{}, BadRequest("the body isn't multipart"))
			return
		}
		in := multipart.NewReader(&formBody{r: body, end: "--" + boundary + "--"}, boundary)
		for {
			p, err := in.NextRawPart()
			if err == io.EOF {
				return
			}
			if err != nil {
				yield(Part{}, BadRequest("read the body: %w", err))
				return
			}
			kind, _, err := mime.ParseMediaType(p.Header.Get("Content-Type"))
			if err != nil {
				kind = "application/octet-stream"
			}
			one := Part{Reader: p, Name: p.FormName(), Kind: kind}
			if one.Path, err = partPath(p.Header.Get("Content-Disposition")); err != nil {
				yield(Part{}, err)
				return
			}
			if !yield(one, nil) {
				return
			}
		}
	}
}

// OnePart reads the one file of a body.
func (c *Call) OnePart(most int) (data []byte, err error) {
	found := false
	for p, err := range c.Parts() {
		if err != nil {
			return nil, err
		}
		if found {
			return nil, BadRequest("more than one file, where one is wanted")
		}
		found = true
		if data, err = io.ReadAll(io.LimitReader(p, int64(most)+1)); err != nil {
			return nil, err
		}
		if len(data) > most {
			return nil, BadRequest("a file of more than %d bytes", most)
		}
	}
	if !found {
		return nil, BadRequest("no file, where one is wanted")
	}
	return data, nil
}

// A formBody is a multipart body that has to end with end. Package multipart
// accepts some bodies that are cut off.
type formBody struct {
	r    io.Reader
	end  string
	tail []byte // the last bytes, at most as many as end has
}

func (b *formBody) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if n >= len(b.end) {
		b.tail = append(b.tail[:0], p[n-len(b.end):n]...)
	} else {
		b.tail = append(b.tail, p[:n]...)
		b.tail = append(b.tail[:0], b.tail[max(0, len(b.tail)-len(b.end)):]...)
	}
	// Package multipart itself looks for a line after the end.
	if err == io.EOF && string(b.tail) != b.end {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// partPath reads the path of a part's file. Go's own FileName would remove the
// folders. Kubo's clients escape the path like a query.
func partPath(disposition string) (string, error) {
	_, params, err := mime.ParseMediaType(disposition)
	if err != nil || params["filename"] == "" {
		return "", nil
	}
	name, err := url.QueryUnescape(params["filename"])
	if err != nil {
		name = params["filename"] // a client that doesn't escape
	}
	name = strings.TrimLeft(name, "/")
	if name == "" {
		return "", nil
	}
	clean := path.Clean(name)
	if clean == "." || clean == ".." || strings.HasPrefix(clean, "../") || strings.ContainsRune(clean, 0) {
		return "", BadRequest("invalid file name %.200q: want a path that stays in its folder", name)
	}
	return clean, nil
}
