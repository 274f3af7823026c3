package ipld

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"unicode/utf8"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/ipfs/go-cid"
	"github.com/ipld/go-ipld-prime/codec/dagcbor"
	"github.com/ipld/go-ipld-prime/datamodel"
	cidlink "github.com/ipld/go-ipld-prime/linking/cid"
	"github.com/ipld/go-ipld-prime/node/basicnode"
)

// maxDepth bounds the nesting of a value, so that a value that contains itself is
// an error and a hostile block cannot exhaust the stack.
const maxDepth = 256

// Encode encodes a Go value as a block of dag-cbor; cairn.Encode has the rules.
func Encode(v any) (block.Block, error) {
	n, err := toNode(reflect.ValueOf(v), 0)
	if err != nil {
		return block.Block{}, fmt.Errorf("encode %T: %w", v, err)
	}
	var out bytes.Buffer
	if err := dagcbor.Encode(n, &out); err != nil {
		return block.Block{}, fmt.Errorf("encode %T: %w", v, err)
	}
	b, err := block.New(block.DagCBOR, out.Bytes())
	if err != nil {
		return block.Block{}, fmt.Errorf("encode %T: %w", v, err)
	}
	return b, nil
}

var (
	cidType  = reflect.TypeFor[cid.Cid]()
	nodeType = reflect.TypeFor[datamodel.Node]()

	errDepth = errors.New("nested too deep")
)

// A field is an exported field of a struct.
type field struct {
	name      string
	index     int
	omitEmpty bool
}

func fieldsOf(t reflect.Type) ([]field, error) {
	var fields []field
	seen := map[string]bool{}
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("ipld"), ",")
		if !f.IsExported() || name == "-" && options == "" {
			continue
		}
		if name == "" {
			name = f.Name
		}
		if seen[name] {
			return nil, fmt.Errorf("%s has two fields named %q", t, name)
		}
		seen[name] = true
		fields = append(fields, field{name, i, options == "omitempty"})
	}
	return fields, nil
}

func toNode(v reflect.Value, depth int) (datamodel.Node, error) {
	if depth > maxDepth {
		return nil, errDepth
	}
	if !v.IsValid() {
		return datamodel.Null, nil
	}
	if v.Type() == cidType {
		c := v.Interface().(cid.Cid)
		if !c.Defined() {
			return nil, errors.New("an undefined CID")
		}
		return basicnode.NewLink(cidlink.Link{Cid: c}), nil
	}
	if v.Type().Implements(nodeType) && !(v.Kind() == reflect.Pointer && v.IsNil()) {
		return v.Interface().(datamodel.Node), nil
	}
	switch v.Kind() {
	case reflect.Bool:
		return basicnode.NewBool(v.Bool()), nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return basicnode.NewInt(v.Int()), nil
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return basicnode.NewUint(v.Uint()), nil
	case reflect.Float32, reflect.Float64:
		if f := v.Float(); math.IsNaN(f) || math.IsInf(f, 0) {
			return nil, fmt.Errorf("invalid number %v: dag-cbor has finite ones", f)
		}
		return basicnode.NewFloat(v.Float()), nil
	case reflect.String:
		if !utf8.ValidString(v.String()) {
			return nil, fmt.Errorf("the string %q is not UTF-8", v.String())
		}
		return basicnode.NewString(v.String()), nil
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return datamodel.Null, nil
		}
		return toNode(v.Elem(), depth+1)
	case reflect.Slice, reflect.Array:
		return toList(v, depth)
	case reflect.Map:
		return toMap(v, depth)
	case reflect.Struct:
		return toStruct(v, depth)
	}
	return nil, fmt.Errorf("dag-cbor has no form for the type %s", v.Type())
}

func toList(v reflect.Value, depth int) (datamodel.Node, error) {
	if v.Kind() == reflect.Slice && v.IsNil() {
		return datamodel.Null, nil
	}
	if v.Type().Elem().Kind() == reflect.Uint8 {
		p := make([]byte, v.Len())
		reflect.Copy(reflect.ValueOf(p), v)
		return basicnode.NewBytes(p), nil
	}
	nb := basicnode.Prototype.List.NewBuilder()
	l, err := nb.BeginList(int64(v.Len()))
	if err != nil {
		return nil, err
	}
	for i := range v.Len() {
		n, err := toNode(v.Index(i), depth+1)
		if err == nil {
			err = l.AssembleValue().AssignNode(n)
		}
		if err != nil {
			return nil, fmt.Errorf("[%d]: %w", i, err)
		}
	}
	if err := l.Finish(); err != nil {
		return nil, err
	}
	return nb.Build(), nil
}

func toMap(v reflect.Value, depth int) (datamodel.Node, error) {
	if v.Type().Key().Kind() != reflect.String {
		return nil, fmt.Errorf("%s: the keys of a map must be strings", v.Type())
	}
	if v.IsNil() {
		return datamodel.Null, nil
	}
	return buildMap(v.Len(), func(entry func(string, reflect.Value) error) error {
		for it := v.MapRange(); it.Next(); {
			if err := entry(it.Key().String(), it.Value()); err != nil {
				return err
			}
		}
		return nil
	}, depth)
}

func toStruct(v reflect.Value, depth int) (datamodel.Node, error) {
	fields, err := fieldsOf(v.Type())
	if err != nil {
		return nil, err
	}
	return buildMap(len(fields), func(entry func(string, reflect.Value) error) error {
		for _, f := range fields {
			if f.omitEmpty && v.Field(f.index).IsZero() {
				continue
			}
			if err := entry(f.name, v.Field(f.index)); err != nil {
				return err
			}
		}
		return nil
	}, depth)
}

func buildMap(size int, each func(entry func(string, reflect.Value) error) error, depth int) (datamodel.Node, error) {
	nb := basicnode.Prototype.Map.NewBuilder()
	m, err := nb.BeginMap(int64(size))
	if err != nil {
		return nil, err
	}
	err = each(func(key string, v reflect.Value) error {
		if !utf8.ValidString(key) {
			return fmt.Errorf("the key %q is not UTF-8", key)
		}
		n, err := toNode(v, depth+1)
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		a, err := m.AssembleEntry(key)
		if err != nil {
			return err
		}
		return a.AssignNode(n)
	})
	if err == nil {
		err = m.Finish()
	}
	if err != nil {
		return nil, err
	}
	return nb.Build(), nil
}
