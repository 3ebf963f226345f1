module github.com/hearthnet/hearth/examples

go 1.26.0

require github.com/hearthnet/hearth v0.0.0

require (
	github.com/fxamacker/cbor/v2 v2.9.6 // indirect
	github.com/stretchr/testify v1.12.1 // indirect
	github.com/x448/float16 v0.8.4 // indirect
	go.uber.org/goleak v1.3.0 // indirect
	golang.org/x/crypto v0.58.0 // indirect
	pgregory.net/rapid v1.3.0 // indirect
)

replace github.com/hearthnet/hearth => ../
