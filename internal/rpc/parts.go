package rpc

import (
	"bytes"
	"io"
	"iter"
	"mime"
	"mime/multipart"
	"net/url"
	"path"
	"strings"
)

// maxParts is how many parts one request may have of which something is held
// until its end: a hundred bytes or so for each.
const maxParts = 1 << 20

// A part is one file of a multipart body.
type part struct {
	io.Reader
	name string // as the form has it
	path string // of the file, relative, with slashes; empty if it has none
	kind string // Content-Type, without parameters
}

// The content types of what is no file, as Kubo's clients send them.
const (
	directoryType = "application/x-directory"
	symlinkType   = "application/symlink"
)

// parts yields the parts of a multipart body, in order; each can be read until
// the next one. The body's end has to be that of a multipart body: one that is
// cut off is an error.
func (c *call) parts() iter.Seq2[part, error] {
	return func(yield func(part, error) bool) {
		kind, params, err := mime.ParseMediaType(c.r.Header.Get("Content-Type"))
		if err != nil || !strings.HasPrefix(kind, "multipart/") || params["boundary"] == "" {
			yield(part{}, badRequest("the body isn't multipart"))
			return
		}
		in := multipart.NewReader(&formBody{r: c.input, end: "--" + params["boundary"] + "--"}, params["boundary"])
		for {
			p, err := in.NextRawPart()
			if err == io.EOF {
				return
			}
			if err != nil {
				yield(part{}, badRequest("read the body: %w", err))
				return
			}
			kind, _, err := mime.ParseMediaType(p.Header.Get("Content-Type"))
			if err != nil {
				kind = "application/octet-stream"
			}
			one := part{Reader: p, name: p.FormName(), kind: kind}
			if one.path, err = partPath(p.Header.Get("Content-Disposition")); err != nil {
				yield(part{}, err)
				return
			}
			if !yield(one, nil) {
				return
			}
		}
	}
}

// onePart reads the one file of a body.
func (c *call) onePart(most int) (data []byte, err error) {
	found := false
	for p, err := range c.parts() {
		if err != nil {
			return nil, err
		}
		if found {
			return nil, badRequest("more than one file, where one is wanted")
		}
		found = true
		if data, err = io.ReadAll(io.LimitReader(p, int64(most)+1)); err != nil {
			return nil, err
		}
		if len(data) > most {
			return nil, badRequest("a file of more than %d bytes", most)
		}
	}
	if !found {
		return nil, badRequest("no file, where one is wanted")
	}
	return data, nil
}

// file makes the request's body a form of one file.
func (r *request) file(name string, data []byte) error {
	var form bytes.Buffer
	w := multipart.NewWriter(&form)
	part, err := w.CreateFormFile("file", name)
	if err == nil {
		_, err = part.Write(data)
	}
	if err == nil {
		err = w.Close()
	}
	r.body, r.content, r.ends = &form, w.FormDataContentType(), true
	return err
}

// A formBody is a multipart body that knows how it has to end. Package multipart
// takes some that are cut off for whole.
type formBody struct {
	r    io.Reader
	end  string
	tail []byte // what came last, as long as end at most
}

func (b *formBody) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if n >= len(b.end) {
		b.tail = append(b.tail[:0], p[n-len(b.end):n]...)
	} else {
		b.tail = append(b.tail, p[:n]...)
		b.tail = append(b.tail[:0], b.tail[max(0, len(b.tail)-len(b.end)):]...)
	}
	// A line after the end is looked for by package multipart.
	if err == io.EOF && string(b.tail) != b.end {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// partPath reads the path of a part's file. Go's own FileName would take the
// folders away. Kubo's clients escape it like a query.
func partPath(disposition string) (string, error) {
	_, params, err := mime.ParseMediaType(disposition)
	if err != nil || params["filename"] == "" {
		return "", nil
	}
	name, err := url.QueryUnescape(params["filename"])
	if err != nil {
		name = params["filename"] // of somebody who doesn't escape
	}
	name = strings.TrimLeft(name, "/")
	if name == "" {
		return "", nil
	}
	clean := path.Clean(name)
	if clean == "." || clean == ".." || strings.HasPrefix(clean, "../") || strings.ContainsRune(clean, 0) {
		return "", badRequest("%.200q is no path of a file", name)
	}
	return clean, nil
}
