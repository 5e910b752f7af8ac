"""Sound files.

`recording` plays a file as a source, or reads it whole: `sound_file` opens it with `libsndfile_reader` or else
`av_reader`, and `mono_blocks` turns what they read into blocks.
`sound_folder` finds the files in a folder, `file_windows` cuts a whole file into windows.
"""
