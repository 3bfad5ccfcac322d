"""What an ONNX model would cost whoever runs it, found out before anybody does: sizes, folding, functions.

An ONNX file is a program. A runtime folds its constants when it is opened, inlines its functions, and keeps
every size that the file states; a kilobyte of it can ask for terabytes or never end. Here the declared sizes
are proved against the bytes, and what constants grow to is worked out from shapes alone.
"""
