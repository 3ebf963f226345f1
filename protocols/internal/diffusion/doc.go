// Package diffusion is what tx-submission and object diffusion have in common (wire §8, §11): one side owns items and announces
// their ids in a window, the other acknowledges them in order and asks for the items. What differs, the messages and who opens and
// ends the conversation, is a [Dialect].
package diffusion
