// Package deps holds the tests that keep the list of what the library depends on short, and its layers in order.
package deps
